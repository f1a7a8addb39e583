"""The handlers of signals, in this process."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from signal import SIGHUP, SIGINT, SIGQUIT, SIGTERM

import pytest

from dw.console.signals import CAUSES, Signals, run_program
from dw.errors import Interrupted
from dw.terminal.renderer import OutputClosed


@pytest.fixture
def signals() -> Iterator[Signals]:
    before = [signal.getsignal(number) for number in (SIGINT, *CAUSES)]
    with Signals() as signals:
        yield signals
    assert [signal.getsignal(number) for number in (SIGINT, *CAUSES)] == before


def receive(*numbers: signal.Signals) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [SIGINT, *CAUSES])
def test_a_signal_interrupts_whatever_runs(signals: Signals, number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt):
        receive(number)
    assert signals.received is number
    assert signals.asks_to_leave is (number is not SIGINT)
    assert signals.exit_code == 128 + number
    assert signals.cause == CAUSES.get(number, "interrupted")


def test_before_the_first_there_is_none(signals: Signals) -> None:
    assert (signals.received, signals.asks_to_leave) == (None, False)
    assert (signals.cause, signals.exit_code) == ("interrupted", 130)


def test_a_signal_wakes_who_waits_and_does_nothing_else(signals: Signals) -> None:
    woken: list[str] = []
    with signals.waking(lambda: woken.append("outer")):
        with signals.waking(lambda: woken.append("inner")):
            receive(SIGTERM)
        receive(SIGINT)
    assert woken == ["inner", "outer"]
    with pytest.raises(KeyboardInterrupt):
        receive(SIGINT)


def test_what_ends_the_program_stays_the_reason(signals: Signals) -> None:
    woken: list[None] = []
    with signals.waking(lambda: woken.append(None)):
        receive(SIGINT, SIGTERM, SIGQUIT, SIGINT)
    assert signals.received is SIGTERM
    assert len(woken) == 4, "each of them insists"


def test_a_hangup_never_insists(signals: Signals) -> None:
    """A terminal, its shell and systemd send one after the other."""
    woken: list[None] = []
    with signals.waking(lambda: woken.append(None)):
        receive(SIGHUP, SIGHUP)
    assert (len(woken), signals.received) == (1, SIGHUP)
    receive(SIGHUP)


def test_a_hangup_that_is_ignored_stays_so() -> None:
    former = signal.signal(SIGHUP, signal.SIG_IGN)
    try:
        with Signals() as signals:
            receive(SIGHUP)
            assert signals.received is None
        assert signal.getsignal(SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(SIGHUP, former)


def test_in_another_thread_no_handler_is_set() -> None:
    handlers: list[object] = []

    def enter() -> None:
        with Signals():
            handlers.append(signal.getsignal(SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(SIGTERM)]


# ------------------------------------------------------------------ the end of a program


@pytest.fixture
def ended_by(monkeypatch: pytest.MonkeyPatch) -> list[signal.Signals]:
    ends: list[signal.Signals] = []
    monkeypatch.setattr("dw.console.signals.end_by", ends.append)
    return ends


def test_the_exit_code_is_that_of_the_work(ended_by: list[signal.Signals]) -> None:
    assert run_program(lambda _: 7) == 7
    assert ended_by == []


@pytest.mark.parametrize("number", [SIGINT, SIGTERM, SIGHUP])
def test_a_program_ends_by_the_signal_that_ended_its_work(
    ended_by: list[signal.Signals], number: signal.Signals
) -> None:
    def work(signals: Signals) -> int:
        with signals.waking(lambda: None):
            receive(number)
        raise Interrupted("cancelled")

    assert run_program(work) == 128 + number
    assert ended_by == [number]


def test_work_that_was_done_when_the_signal_came_ends_by_it_too(
    ended_by: list[signal.Signals],
) -> None:
    def work(signals: Signals) -> int:
        with signals.waking(lambda: None):
            receive(SIGTERM)
        return 0

    assert run_program(work) == 128 + SIGTERM
    assert ended_by == [SIGTERM]


def test_a_ctrl_c_that_only_ended_a_run_leaves_the_exit_code(
    ended_by: list[signal.Signals],
) -> None:
    def work(signals: Signals) -> int:
        with signals.waking(lambda: None):
            receive(SIGINT)
        return 0

    assert run_program(work) == 0
    assert ended_by == []


@pytest.mark.parametrize("number", [None, SIGHUP])
def test_a_closed_output_is_a_broken_pipe_unless_the_terminal_was_closed(
    ended_by: list[signal.Signals],
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals | None,
) -> None:
    monkeypatch.setattr("dw.console.signals._discard_output", lambda: None)

    def work(signals: Signals) -> int:
        with signals.waking(lambda: None):
            receive(*([number] if number else []))
        raise OutputClosed

    assert run_program(work) == (129 if number else 141)
    assert ended_by == ([SIGHUP] if number else [])

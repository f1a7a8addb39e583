"""Outcomes: which error a terminal event stands for, and which events arrive on the way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dw import events
from dw.errors import Bug, DwError, Interrupted, OutOfResources, TimedOut, WorkerLost, WorkflowError
from dw.events import Event
from dw.jobs.outcome import Outcome, follow
from dw.worker.handle import INTERRUPTED, Interrupt


class Stream:
    run_id = 1

    def __init__(self, *found: Event | Interrupt) -> None:
        self.found = found

    def __iter__(self) -> Iterator[Event | Interrupt]:
        return iter(self.found)

    def interrupt(self) -> None: ...


def outcome(*found: Event | Interrupt) -> tuple[Outcome, list[str]]:
    """The outcome, and what arrived on the way to it."""
    arrived: list[str] = []
    end = follow(
        Stream(*found),
        on_event=lambda event: arrived.append(type(event).__name__),
        on_interrupt=lambda: arrived.append("interrupt"),
    )
    return end, arrived


def test_every_event_and_every_interrupt_is_told_in_order() -> None:
    end, arrived = outcome(events.Executing(1, "demo"), INTERRUPTED, events.RunCancelled(1, 2, 4))
    assert arrived == ["Executing", "interrupt", "RunCancelled"]
    assert isinstance(end.error, Interrupted)
    assert "cancelled at step 2 of 4" in str(end.error)


def test_an_answer_is_no_error() -> None:
    end, _ = outcome(events.Prepared(1))
    assert (end.error, end.trace) == (None, "")


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (events.Failed(1, "resources", "no memory"), OutOfResources),
        (events.Failed(1, "workflow", "wrong"), WorkflowError),
        (events.Failed(1, "bug", "KeyError"), Bug),
        (events.Died(1, "signal", "killed by signal 9", 7), WorkerLost),
        (events.RunTimedOut(1, "deadline", 5.0, keeps_models=True), TimedOut),
    ],
)
def test_each_failure_is_the_error_of_its_kind(event: Event, expected: type[DwError]) -> None:
    end, _ = outcome(event)
    assert type(end.error) is expected


def test_the_trace_is_kept_where_it_says_more_than_the_message() -> None:
    failed = events.Failed(1, "run", "width 63", trace="Traceback ...")
    assert outcome(failed)[0].trace == "Traceback ..."
    wrong = events.Failed(1, "usage", "no such file", trace="Traceback ...")
    assert outcome(wrong)[0].trace == ""
    died = events.Died(1, "signal", "gone", 7, stack="in unet", tail=("last line",))
    assert outcome(died)[0].trace == "last line\nin unet"

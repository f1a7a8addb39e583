"""The key of a run, on a pty: what is pressed, what is kept, and how the terminal is left."""

from __future__ import annotations

import os
import pty
import termios
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from dw.console import run_keys
from dw.console.run_keys import Keys


@dataclass
class Terminal:
    outer: int
    inner: int
    presses: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    @property
    def modes(self) -> list[object]:
        return termios.tcgetattr(self.inner)

    def type(self, text: str) -> None:
        os.write(self.outer, text.encode())

    def pressed(self) -> None:
        self.presses.release()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setattr(run_keys, "ALONE_S", 0.05)
    outer, inner = pty.openpty()
    yield Terminal(outer, inner)
    os.close(outer)
    os.close(inner)


def typed(watched: Keys, text: str) -> None:
    """Wait until the thread has taken it."""
    reader = watched._reader
    assert reader is not None
    while text.encode() not in reader._typed:
        pass


def test_the_key_alone_is_a_press_and_nothing_typed(terminal: Terminal) -> None:
    watched = Keys(terminal.inner)
    with watched.watched(terminal.pressed):
        for _ in range(2):
            terminal.type("s")
            assert terminal.presses.acquire(timeout=5)
    assert watched.typed_ahead() == ""


def test_what_begins_with_the_key_is_typed_ahead(terminal: Terminal) -> None:
    watched = Keys(terminal.inner)
    with watched.watched(terminal.pressed):
        terminal.type("status\r")
        typed(watched, "status\n")
        terminal.type("s")
        assert terminal.presses.acquire(timeout=5), "on a line of its own it counts again"
        terminal.type("arg s")
        typed(watched, "arg s")
    assert not terminal.presses.acquire(blocking=False)
    assert watched.typed_ahead() == "status\narg s"
    assert watched.typed_ahead() == "", "it is asked for once"


def test_the_terminal_is_as_it_was_whatever_happens(terminal: Terminal) -> None:
    before = terminal.modes
    watched = Keys(terminal.inner)
    with suppress(ZeroDivisionError), watched.watched(terminal.pressed):
        assert terminal.modes != before
        raise ZeroDivisionError
    assert terminal.modes == before
    assert not any(thread.name == "keys" for thread in threading.enumerate())


def test_a_question_gets_the_terminal_and_its_answer(terminal: Terminal) -> None:
    before = terminal.modes
    watched = Keys(terminal.inner)
    with watched.watched(terminal.pressed):
        terminal.type("ar")
        typed(watched, "ar")
        with watched.paused():
            assert terminal.modes == before
            terminal.type("s\n")
            assert os.read(terminal.inner, 100) == b"s\n"
        terminal.type("g")
        typed(watched, "arg")
    assert terminal.modes == before


def test_what_is_forgotten_is_not_typed_ahead(terminal: Terminal) -> None:
    watched = Keys(terminal.inner)
    with watched.watched(terminal.pressed):
        terminal.type("arg")
        typed(watched, "arg")
        watched.forget()
        terminal.type("x=1")
        typed(watched, "x=1")
    assert watched.typed_ahead() == "x=1"


def test_a_terminal_that_is_gone_ends_the_reading_quietly() -> None:
    outer, inner = pty.openpty()
    watched = Keys(inner)
    with watched.watched(lambda: None):
        os.close(outer)
    os.close(inner)


def test_without_a_terminal_there_are_no_keys() -> None:
    watched = Keys(None)
    with watched.watched(lambda: None), watched.paused():
        assert not watched.are_read
    assert not Keys.of_stdin().are_read

"""What a worker prints, at the shell's end of the pipe."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dw.worker.process.output import DRAINED, LINES_PER_SECOND, LONGEST_LINE, OutputReader


class Printer:
    """The end of the pipe that a worker has."""

    def __init__(self, log: Path) -> None:
        ours, self._theirs = os.pipe()
        self.output = OutputReader(ours, log)

    def says(self, *lines: bytes) -> None:
        os.write(self._theirs, b"".join(line + b"\n" for line in lines))

    def marks(self) -> None:
        os.write(self._theirs, DRAINED)

    def dies(self) -> None:
        os.close(self._theirs)


@pytest.fixture
def printer(tmp_path: Path) -> Iterator[Printer]:
    printer = Printer(tmp_path / "worker.log")
    yield printer
    if not printer.output.has_ended:
        printer.dies()
    printer.output.close()


def numbered(count: int) -> list[bytes]:
    return [b"line %d" % number for number in range(count)]


def test_what_was_printed_before_the_mark_is_drained(printer: Printer) -> None:
    printer.says(b"one", b"two")
    printer.marks()
    assert printer.output.drain() == ["one", "two"]


def test_the_lines_that_were_left_out_are_counted_before_the_mark(printer: Printer) -> None:
    printer.says(*numbered(1000))
    printer.marks()
    *lines, last = printer.output.drain(limit_s=5.0)
    assert lines == [f"line {number}" for number in range(LINES_PER_SECOND)]
    assert last == f"({1000 - LINES_PER_SECOND} more lines in {printer.output.log})"
    printer.marks()
    assert printer.output.drain() == []
    assert len(printer.output.log.read_text().splitlines()) == 1000


def test_so_are_those_of_a_process_that_died(printer: Printer) -> None:
    printer.says(*numbered(LINES_PER_SECOND + 7))
    printer.dies()
    assert printer.output.drain_to_end()[-1] == f"(7 more lines in {printer.output.log})"
    assert printer.output.tail[-1] == f"line {LINES_PER_SECOND + 6}"


def test_its_unfinished_line_is_heard(printer: Printer) -> None:
    os.write(printer._theirs, b"Fatal Python error: Segm")
    printer.dies()
    assert printer.output.drain_to_end() == ["Fatal Python error: Segm"]


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        (b" 10%\r 50%\r100%", "100%"),
        (b"done\r", "done"),
        (b"x" * 5000, "x" * LONGEST_LINE + " ... (cut)"),
        (b"caf\xe9", "caf\\xe9"),
    ],
    ids=["painted over", "a line of Windows", "too long", "not UTF-8"],
)
def test_a_line_is_shown_as_a_terminal_would(printer: Printer, printed: bytes, shown: str) -> None:
    printer.says(printed)
    assert printer.output.read() == [shown]

"""The broken files, and what validation reports about them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import chdir
from functools import cache
from pathlib import Path

from dw.engine import Engine
from dw.types import Diagnostic
from dw.workflow import validate_file

FOLDER = Path(__file__).parent
FILES = sorted(FOLDER.glob("*.json"))


def expectation(path: Path) -> Path:
    return path.with_suffix(".expected")


def problems(path: Path) -> tuple[Diagnostic, ...]:
    """All that is wrong at any stage, as reported to a user in that folder."""
    with chdir(FOLDER):
        result = validate_file(Path(path.name))
        if result.document is None:
            return result.problems
        return result.with_more(_engine().check(result.document)).problems


@cache
def _engine() -> Engine:
    return Engine()


def reported(path: Path) -> str:
    """A line for each problem: `line:column: severity: message`, in a file of its own with it.
    `FOLDER` is the one that the files are in."""
    lines = (
        str(each).removeprefix(f"{path.name}:").replace(str(FOLDER), "FOLDER")
        for each in problems(path)
    )
    return "".join(f"{line}\n" for line in lines)


def shown(path: Path) -> Iterator[str]:
    """Each problem under its line of the file, with a mark at its column."""
    yield f"--- {path.name}"
    for each in problems(path):
        lines = (FOLDER / each.path).read_text(encoding="utf-8").split("\n")
        line = lines[each.line - 1]
        start = max(0, each.column - 60)
        yield f"{each.line:5} {line[start : start + 100]}"
        yield f"{' ' * (each.column - start + 5)}^ {each.severity}: {each.message}"
    yield ""

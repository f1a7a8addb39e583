"""Each broken file reports exactly what is wrong with it, where, and at once."""

from __future__ import annotations

import time
from difflib import unified_diff
from pathlib import Path

import pytest

from tests.broken.files import FILES, FOLDER, expectation, reported

LONGEST_S = 2.0
every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


@every_file
def test_what_is_reported_is_what_is_expected(path: Path) -> None:
    began = time.process_time()
    found = reported(path).splitlines()
    seconds = time.process_time() - began
    wanted = expectation(path).read_text(encoding="utf-8").splitlines()
    difference = unified_diff(wanted, found, "expected", "reported", n=0, lineterm="")
    assert found == wanted, "\n".join(["python -m tests.broken --write", *difference])
    assert seconds < LONGEST_S


def test_every_expectation_is_of_a_file_and_says_something() -> None:
    assert {path.stem for path in FOLDER.glob("*.expected")} == {path.stem for path in FILES}
    assert len(FILES) >= 120
    for path in FILES:
        assert expectation(path).read_text(encoding="utf-8").strip(), path.stem

from __future__ import annotations

from pathlib import Path

import pytest

MODULE = """
LIMIT = 5

def outer(a, b=1):
    def inner(c=2):
        return a + c
    return inner() + 3

class Box:
    size = 4

    def grow(self, *, by=6):
        return [lambda x=7: x + by]
"""


def test_what_is_executed_on_import_is_told_from_what_a_call_executes(tmp_path: Path) -> None:
    pytest.importorskip("mutmut")
    from tests.mutation.mutants import mutants

    path = tmp_path / "module.py"
    path.write_text(MODULE, encoding="utf-8")
    found = {mutant.line: set[bool]() for mutant in mutants(path)}
    for mutant in mutants(path):
        found[mutant.line].add(mutant.is_executed_on_import)
    lines = MODULE.splitlines()
    on_import = {lines[line - 1].strip() for line, where in found.items() if True in where}
    assert on_import == {
        "LIMIT = 5",
        "def outer(a, b=1):",
        "size = 4",
        "def grow(self, *, by=6):",
    }
    assert all(len(where) == 1 for where in found.values())
    assert {lines[line - 1].strip() for line, where in found.items() if where == {False}} == {
        "def inner(c=2):",
        "return a + c",
        "return inner() + 3",
        "return [lambda x=7: x + by]",
    }

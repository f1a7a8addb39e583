"""dw/terminal can be used by any program: it needs rich and Pillow besides the standard library."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import dw.terminal

FOLDER = Path(dw.terminal.__file__).parent


def test_it_needs_two_libraries() -> None:
    found = set()
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(str(node.module).partition(".")[0])
    assert found - sys.stdlib_module_names == {"dw", "rich", "PIL"}

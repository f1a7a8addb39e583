"""Imports point one way, and no file, of a module or of its tests, is too long to be read."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(ROOT.glob("dw/**/*.py"))
FILES = [*MODULES, *sorted(ROOT.glob("tests/**/*.py"))]

# A package may import itself and what stands before it.
LAYERS = [
    "report",
    "errors",
    "history",
    "settings",
    "workflow",
    "rehearsal",
    "engine",
    "worker",
    "repl",
]
HEAVY = {"torch", "diffusers", "transformers", "numpy", "accelerate", "peft"}
WITH_TORCH = ("dw/engine/", "dw/rehearsal/")
LONGEST = 500


def layer(path: Path) -> str:
    return path.relative_to(ROOT / "dw").parts[0].removesuffix(".py")


def imported(path: Path, *, at_top: bool = False) -> set[str]:
    """Every module that is imported, or only those that are imported when this one is."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = set()
    for node in tree.body if at_top else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path):
    if layer(path) not in LAYERS:
        return  # the entry points may import everything
    allowed = LAYERS[: LAYERS.index(layer(path)) + 1]
    ours = {name.split(".")[1] for name in imported(path) if name.startswith("dw.")}
    assert ours <= set(allowed)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_libraries_are_imported_by_the_engine_and_the_stand_ins_alone(path: Path):
    heavy = {name for name in imported(path, at_top=True) if name.split(".")[0] in HEAVY}
    assert not heavy or str(path.relative_to(ROOT)).startswith(WITH_TORCH)


def test_only_the_workers_main_loop_and_programs_of_their_own_import_the_engine():
    users = [
        str(path.relative_to(ROOT))
        for path in MODULES
        if layer(path) != "engine" and any(name.startswith("dw.engine") for name in imported(path))
    ]
    assert users == ["dw/rehearse.py", "dw/validate.py", "dw/worker/serve.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_too_long_to_be_read(path: Path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST

"""Imports point one way, without a circle, and no file is too long to be read."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(ROOT.glob("dw/**/*.py"))
FILES = [*MODULES, *sorted(ROOT.glob("tests/**/*.py"))]

FLOOR = {
    *("atomic_files", "refusals"),
    *("types", "errors", "extras", "events", "codec", "settings", "run_record"),
    *("run_folders", "run_index", "origins", "vocabulary", "contact_sheet", "short_text"),
    *("error_types", "seeds", "text_files", "pixels", "redaction", "sizes", "file_systems"),
}
LAYERS: dict[str, set[str]] = {
    "workflow": FLOOR,
    "rehearsal": FLOOR | {"workflow"},
    "engine": FLOOR | {"workflow", "rehearsal"},
    "worker": FLOOR | {"workflow", "rehearsal", "engine"},
    "health": FLOOR | {"workflow"},
    "jobs": FLOOR | {"workflow", "worker", "health"},
    "terminal": FLOOR - {"settings", "run_record"},
    "server": FLOOR | {"workflow", "health", "worker", "jobs"},
    "console": FLOOR | {"workflow", "worker", "jobs", "terminal"},
    "programs": FLOOR | {"workflow", "terminal", "console"},
}
"""What each package may import besides itself. The floor imports only itself."""

ENGINE = (
    *(
        "errors",
        "device",
        "cancellation",
        "python",
        "patches",
        "media",
        "files",
        "tasks",
        "comfyui",
    ),
    *("models", "calls", "memory", "checks", "execution", "engine"),
)
"""The rooms of the engine from the bottom: each imports itself and those before it."""

FACES = {"repl", "doctor", "run", "rehearse", "validate", "schema", "serve", "runpod", "comfyui"}
"""The programs. They import every layer, except as the tests below say, and never each other."""

ENGINE_USERS = ["dw/rehearse.py", "dw/validate.py", "dw/worker/child/server.py"]
HEAVY = {"torch", "diffusers", "transformers", "numpy", "accelerate", "peft"}
WITH_TORCH = ("dw/engine/", "dw/rehearsal/", "dw/health/probe.py")
LONGEST = 500

EVERY_MODULE = pytest.mark.parametrize(
    "path", MODULES, ids=lambda path: str(path.relative_to(ROOT))
)


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package(module: str) -> str:
    """`workflow` for `dw.workflow.loading`; empty for `dw` itself."""
    return ".".join(module.split(".")[1:2])


PATHS = {name_of(path): path for path in MODULES}


class _Imports(ast.NodeVisitor):
    """The imports of one module, those in its functions included."""

    def __init__(self, *, with_types: bool) -> None:
        self.names: list[str] = []
        self._with_types = with_types

    def visit_Import(self, node: ast.Import) -> None:
        self.names += [alias.name for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        assert node.module is not None, "no relative imports"
        self.names += [f"{node.module}.{alias.name}" for alias in node.names]

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) != "TYPE_CHECKING" or self._with_types:
            self.generic_visit(node)


@cache
def imported(path: Path, *, with_types: bool = True) -> tuple[str, ...]:
    """What a module imports: modules, or names in them."""
    imports = _Imports(with_types=with_types)
    imports.visit(ast.parse(path.read_text(encoding="utf-8")))
    return tuple(imports.names)


def imported_modules(path: Path) -> set[str]:
    """The modules of ours that may be executed, now or later, because this one is.

    An import executes the packages around its module, too; those that this one is in run already.
    """
    here, found = name_of(path), set()
    for name in imported(path, with_types=False):
        module = name if name in PATHS else name.rpartition(".")[0]
        if module in PATHS:
            parents = (module.rsplit(".", count)[0] for count in range(1, module.count(".") + 1))
            found |= {module, *(each for each in parents if not f"{here}.".startswith(f"{each}."))}
    return found - {here}


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of a circle, or nothing when there is none."""
    done: set[str] = set()
    for start in graph:
        way: list[str] = [start]
        open_arrows = [sorted(graph[start])]
        while way:
            if start in done or not open_arrows[-1]:
                done.add(way.pop())
                open_arrows.pop()
                continue
            module = open_arrows[-1].pop()
            if module in way:
                return [*way[way.index(module) :], module]
            if module not in done:
                way.append(module)
                open_arrows.append(sorted(graph[module]))
    return []


@EVERY_MODULE
def test_imports_point_one_way(path: Path):
    own = package(name_of(path))
    theirs = {package(name) for name in imported(path) if name.startswith("dw.")} - {own}
    if own in FLOOR:
        assert theirs <= FLOOR
    elif own in LAYERS:
        assert theirs <= LAYERS[own]
    elif own in FACES:
        assert not theirs & FACES


def test_the_rooms_of_the_engine_stand_on_each_other():
    rooms = {module: module.split(".")[2] for module in PATHS if module.startswith("dw.engine.")}
    assert set(rooms.values()) == set(ENGINE)
    for module, room in rooms.items():
        below = ENGINE[: ENGINE.index(room) + 1]
        theirs = [name for name in imported(PATHS[module]) if name.startswith("dw.engine.")]
        assert [name for name in theirs if name.split(".")[2] not in below] == [], module


def test_every_package_has_its_layer():
    packages = {package(module) for module in PATHS} - {"", "__main__"}
    assert packages == FLOOR | set(LAYERS) | FACES


def test_no_circle_of_imports_exists_at_run_time():
    graph = {module: imported_modules(path) for module, path in PATHS.items()}
    assert " -> ".join(circle(graph)) == ""


def test_a_circle_is_found_and_named():
    assert circle({"a": {"b", "c"}, "b": set(), "c": {"d"}, "d": {"c", "b"}}) == ["c", "d", "c"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@EVERY_MODULE
def test_heavy_libraries_are_imported_by_the_engine_and_the_stand_ins_alone(path: Path):
    heavy = {name for name in imported(path) if name.split(".")[0] in HEAVY}
    assert not heavy or str(path.relative_to(ROOT)).startswith(WITH_TORCH)


def test_only_the_workers_main_loop_and_programs_of_their_own_import_the_engine():
    users = [
        str(path.relative_to(ROOT))
        for path in MODULES
        if package(name_of(path)) != "engine"
        and any(name.startswith("dw.engine") for name in imported(path))
    ]
    assert users == ENGINE_USERS


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_too_long_to_be_read(path: Path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST

"""The judge: runs the tests of a module in forked processes with a mutant in it.

A mutant of functions is forked from a process that has collected the tests, and costs nothing but
the tests that execute its line. One of what is executed on import is forked from a process that has
imported the libraries and nothing of dw, and costs half a second more.
"""

from __future__ import annotations

import gc
import importlib.abc
import importlib.util
import inspect
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

LIBRARIES = ("torch", "diffusers", "transformers", "peft", "accelerate", "av", "PIL", "pydantic")
OPTIONS = (
    *("-q", "-x", "-n0", "--no-header", "--timeout", "60"),
    *("-p", "no:cacheprovider", "-p", "pytest_timeout", "-p", "xdist.plugin"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
)


@dataclass(frozen=True)
class Baseline:
    """What the unchanged module gives: its tests pass, in this time; `executed` are the tests that
    execute each line, by file as they are named and in each file the quick ones first."""

    seconds: float
    executed: Mapping[int, Sequence[str]]


def prepare(temporary: Path) -> None:
    """Make this process one to fork from."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    # As in a worker of xdist, whose stand-ins lie in one folder beside those of its tests.
    os.environ["PYTEST_XDIST_WORKER"] = "gw0"
    for name in LIBRARIES:
        import_module(name)
    gc.freeze()


def baseline(path: Path, tests: Sequence[str], temporary: Path) -> Baseline:
    """Raises RuntimeError when the tests do not pass without any change."""
    report = temporary / "baseline.json"

    def work() -> int:
        before = {*sys.modules}
        import coverage
        import pytest

        measured = coverage.Coverage(include=[str(path)], data_file=None)
        measured.start()
        took: dict[str, float] = {}

        class Contexts:
            @pytest.hookimpl(tryfirst=True)
            def pytest_runtest_protocol(self, item: Any) -> None:
                measured.switch_context(item.nodeid)

            def pytest_runtest_logreport(self, report: Any) -> None:
                if report.when == "call":
                    took[report.nodeid] = report.duration

        code = int(
            pytest.main(
                [*OPTIONS, f"--basetemp={temporary / 'tests'}", *tests], plugins=[Contexts()]
            )
        )
        measured.stop()
        data = measured.get_data()
        [file] = data.measured_files()
        files = {test: number for number, test in enumerate(tests)}
        order = sorted(took, key=lambda name: (files[name.partition("::")[0]], took[name]))
        executed = {
            line: [name for name in order if name in names]
            for line, names in data.contexts_by_lineno(file).items()
        }
        modules = [name for name in sys.modules if name not in before]
        report.write_text(json.dumps({"executed": executed, "modules": modules}))
        return code

    begun = time.monotonic()
    said = temporary / "said.txt"
    if in_a_child(work, timeout_s=900, said=said) != 0:
        last = said.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise RuntimeError(f"the tests of {path} do not pass without any change:\n{last}")
    told = json.loads(report.read_text())
    seconds = time.monotonic() - begun
    for name in told["modules"]:
        if not name.startswith(("dw", "tests", "_pytest", "pytest", "coverage", "conftest")):
            with suppress(Exception):  # of a package that is there in part
                import_module(name)
    gc.freeze()
    return Baseline(seconds, {int(line): names for line, names in told["executed"].items()})


def survives(
    module: str, source: str, tests: Sequence[str], temporary: Path, *, timeout_s: float
) -> bool:
    """Whether the tests pass with `source` as the module."""

    def work() -> int:
        sys.meta_path.insert(0, _Changed(module, source))
        import pytest

        return int(pytest.main([*OPTIONS, f"--basetemp={temporary / 'tests'}", *tests]))

    return in_a_child(work, timeout_s=timeout_s) == 0


class CollectedTests:
    """The tests of a module, in a process that has imported it."""

    def __init__(self, items: Sequence[Any], module: ModuleType) -> None:
        self._items = {item.nodeid: item for item in items}
        self._file = str(module.__file__)
        self._before = self._blocks(Path(self._file).read_text(encoding="utf-8"))
        gc.unfreeze()
        functions = [f for f in gc.get_objects() if type(f) is FunctionType]
        self._functions = [f for f in functions if f.__globals__ is vars(module)]
        gc.freeze()

    def survives(self, source: str, tests: Sequence[str], *, timeout_s: float) -> bool | None:
        """Whether the tests pass with the functions of `source` in the module. None: more than
        functions differs."""
        after = self._blocks(source)
        if [*map(_on_import, self._before)] != [*map(_on_import, after)]:
            return None
        blocks = zip(self._before, after, strict=True)
        pairs = [pair for block in blocks for pair in zip(*map(_functions, block), strict=False)]
        codes = {(b.co_qualname, b.co_firstlineno): a for b, a in pairs if _fits(b, a)}

        def work() -> int:
            for function in self._functions:
                code = function.__code__
                key = (code.co_qualname, code.co_firstlineno)
                function.__code__ = codes.get(key, code)
            items = [self._items[name] for name in tests]
            for item, following in zip(items, [*items[1:], None], strict=True):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if item.session.testsfailed:
                    return 1
            return 0

        return in_a_child(work, timeout_s=timeout_s) == 0

    def _blocks(self, source: str) -> list[CodeType]:
        return list(_blocks(compile(source, self._file, "exec")))


def collected(
    module: str, tests: Sequence[str], temporary: Path, work: Callable[[CollectedTests], Any]
) -> Any:
    """What `work` returns, which can be JSON, in a forked process that has collected the tests.

    Raises RuntimeError when it fails.
    """
    said, returned = temporary / "said.txt", temporary / "returned.json"

    class Loop:
        def pytest_runtestloop(self, session: Any) -> bool:
            result = work(CollectedTests(session.items, sys.modules[module]))
            returned.write_text(json.dumps(result))
            return True

    def collect() -> int:
        import pytest

        options = [*OPTIONS, "-s", f"--basetemp={temporary / 'tests'}"]
        return int(pytest.main([*options, *tests], plugins=[Loop()]))

    if in_a_child(collect, timeout_s=None, said=said) != 0:
        last = said.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise RuntimeError(f"the tests of {module} could not be run:\n{last}")
    return json.loads(returned.read_text())


def _blocks(code: CodeType) -> Iterator[CodeType]:
    """The code of a module, of its classes and of the functions in both."""
    yield code
    if not _is_function(code):
        for inner in code.co_consts:
            if isinstance(inner, CodeType):
                yield from _blocks(inner)


def _functions(code: CodeType) -> Iterator[CodeType]:
    """The code of a function and of those in it, of which some may have been made on import."""
    if _is_function(code):
        yield code
        for inner in code.co_consts:
            if isinstance(inner, CodeType):
                yield from _functions(inner)


def _fits(before: CodeType, after: CodeType) -> bool:
    names = [(code.co_qualname, code.co_freevars) for code in (before, after)]
    return names[0] == names[1]


def _is_function(code: CodeType) -> bool:
    return bool(code.co_flags & inspect.CO_OPTIMIZED)


def _on_import(code: CodeType) -> Any:
    """What makes two codes the same on import."""
    if _is_function(code) and not code.co_name.endswith(("comp>", "genexpr>")):
        return code.co_qualname, code.co_freevars
    constants = [repr(each) for each in code.co_consts if not isinstance(each, CodeType)]
    return code.co_qualname, code.co_code, code.co_names, constants


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds one module, and loads another source for it."""

    def __init__(self, module: str, source: str) -> None:
        self._module, self._source = module, source

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != self._module:
            return None
        place = str(Path(*name.split(".")).with_suffix(".py").resolve())
        return importlib.util.spec_from_file_location(name, place, loader=self)

    def create_module(self, spec: Any) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._source, str(module.__file__), "exec"), module.__dict__)


def in_a_child(
    work: Callable[[], int], *, timeout_s: float | None, said: Path = Path(os.devnull)
) -> int | None:
    """What `work` returns in a forked process, which prints to `said`; None: it took too long, or
    died."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        os.close(ours)
        output = os.open(said, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        code = 70
        try:
            code = work()
        finally:
            os.write(theirs, bytes([min(code, 255)]))
            os._exit(0)
    os.close(theirs)
    is_ready, _, _ = select.select([ours], [], [], timeout_s)
    told = os.read(ours, 1) if is_ready else b""
    os.close(ours)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return told[0] if told else None

"""What holds for any workflow that the format allows."""

from __future__ import annotations

import json
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from PIL import Image

from dw.engine import Engine, RunControl
from dw.engine.models.cache import StepRequirement
from dw.errors import DwError
from dw.events import Run
from dw.rehearsal import store
from dw.schema import FILE
from dw.workflow import Document, validate_text
from dw.workflow.diagnostics import merge_stages
from tests.workflow.strategies import documents, written

quickly = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
SCHEMA = Draft202012Validator(json.loads(FILE.read_text(encoding="utf-8")))


class Planned(Exception):
    """What a run needs is known; nothing is loaded."""


class Bench:
    """An engine in a folder with an image, that goes as far as the plan."""

    def __init__(self, folder: Path) -> None:
        self.engine = Engine()
        self.folder = folder
        self.needs: list[StepRequirement] = []
        self.engine._cache.plan = self._stop  # type: ignore[method-assign]
        Image.new("RGB", (8, 8)).save(folder / "cat.png")

    def _stop(self, needs: Sequence[StepRequirement]) -> Any:
        self.needs = list(needs)
        raise Planned

    def valid(self, data: Any) -> Document:
        """The document, if nothing is wrong with it at any stage; else the example is given up."""
        result = validate_text(json.dumps(data), self.folder / "drawn.json")
        found = () if result.document is None else self.engine.check(result.document)
        problems = merge_stages(result.problems, found)
        assume(all(each.severity != "error" for each in problems))
        return result.document_or_raise()

    def plan(self, document: Document) -> list[StepRequirement]:
        path, outputs = str(document.path), str(self.folder / "outputs")
        request = Run(0, path, document.text, {}, outputs, device="cpu", rehearse=True)
        with pytest.raises(Planned):
            self.engine.run(document, request, control=RunControl(), emit=lambda _event: None)
        return self.needs


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


@quickly
@given(documents())
def test_what_validates_can_be_planned_and_twice_the_same(bench: Bench, data: Any) -> None:
    document = bench.valid(data)
    first = bench.plan(document)
    workflow = document.bind()
    steps = [step.name for step in workflow.steps if workflow.pipeline_of(step)]
    # What comes after a step that releases something is planned when it is reached.
    assert [need.step for need in first] == steps[: len(first)]
    ahead = takewhile(lambda step: step.name != steps[0], workflow.steps) if steps else ()
    releases = any(step.release_models or step.release_pipeline for step in ahead)
    assert first or not steps or releases
    assert bench.plan(document) == first


@quickly
@given(documents())
def test_a_document_that_is_written_back_means_the_same(bench: Bench, data: Any) -> None:
    document = bench.valid(data)
    workflow = document.bind()
    again = bench.valid(written(workflow))
    assert again.bind() == workflow
    assert bench.plan(again) == bench.plan(document)


@quickly
@given(documents())
def test_what_validates_is_valid_by_the_schema(bench: Bench, data: Any) -> None:
    bench.valid(data)
    assert [error.message for error in SCHEMA.iter_errors(data)] == []


# ------------------------------------------------------------------ the disk

OPENING = ("open", "os.listdir", "os.scandir", "os.mkdir", "os.remove", "os.rename")


class Disk:
    """Every path that Python opens, lists or makes while it is watched."""

    def __init__(self) -> None:
        self.is_watched = False
        self.paths: list[str] = []
        sys.addaudithook(self._hear)  # there is no taking it back

    def _hear(self, event: str, arguments: Sequence[Any]) -> None:
        if self.is_watched and event in OPENING and isinstance(arguments[0], str | Path):
            self.paths.append(str(arguments[0]))


@pytest.fixture(scope="module")
def disk() -> Iterator[Disk]:
    disk = Disk()
    yield disk
    disk.is_watched = False


def test_a_file_that_is_opened_is_heard(disk: Disk, tmp_path: Path) -> None:
    disk.paths, disk.is_watched = [], True
    (tmp_path / "x").write_bytes(b"")
    disk.is_watched = False
    assert disk.paths == [str(tmp_path / "x")]


@settings(quickly, max_examples=150)
@given(data=st.data())
def test_planning_touches_no_file_that_it_may_not(
    bench: Bench, disk: Disk, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    secret = bench.folder.parent / "secret"
    secret.mkdir(exist_ok=True)
    for name in ("cat.png", "lora.safetensors", "model_index.json"):
        (secret / name).write_bytes(b"{}")
    (bench.folder / "link").unlink(missing_ok=True)
    (bench.folder / "link").symlink_to(secret)
    ways = [str(secret), "../secret", "link", f"{secret}/cat.png", "../secret/lora.safetensors"]
    drawn = data.draw(documents(st.sampled_from([*ways, "link/cat.png", "~/x", "/etc/passwd"])))
    disk.paths, disk.is_watched = [], True
    try:
        result = validate_text(json.dumps(drawn), bench.folder / "drawn.json")
        if result.document is not None:
            bench.engine.check(result.document)
            bench.plan(result.document_or_raise())
    except DwError:
        pass  # refused, which is what it should be
    finally:
        disk.is_watched = False
    outside = [path for path in map(Path, disk.paths) if not _may_be_read(path, bench.folder)]
    assert outside == []


def _may_be_read(path: Path, folder: Path) -> bool:
    """The workflow's folder, the stand-ins, and what Python itself is made of."""
    python = [*sysconfig.get_paths().values(), *sys.path]  # importlib.metadata lists the latter
    allowed = [folder, store.cache_dir(), Path.cwd(), *map(Path, python)]
    resolved = path.resolve()
    return any(resolved.is_relative_to(each.resolve()) for each in allowed)

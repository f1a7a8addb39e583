"""The world of a walk: a workflow for each family of models, and the folder of what they name.

All in it follows from the edits that were made, so that it can be made again from a part of them.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import diffusers

from dw.engine.python.signatures import call_parameters
from dw.workflow.jsonc import parse_json
from tests.walk.engines import EXAMPLES, Job
from tests.walk.models import Model, model_of, write_images

Json = dict[str, Any]

EXAMPLE = "example "
"""Begins the family of one of the examples, which are rehearsed."""
SMALL = {"num_inference_steps": 2, "width": 64, "height": 64, "num_frames": 9, "seconds": 0.5}


class NotApplicable(Exception):
    """The world has no place for an edit: the walk draws another."""


Undo = Callable[["World"], None]


@dataclass
class World:
    root: Path
    family: str = ""
    documents: dict[str, Json] = field(default_factory=dict)  # by family
    sub: Json = field(default_factory=dict)  # the workflow that others call, if any does
    job: Job = field(init=False)
    undo: list[tuple[str, Undo]] = field(default_factory=list)  # of a family's, after the next run
    _saved: dict[Path, Path | None] = field(default_factory=dict)  # what a step changes, before

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True)
        write_images(self.root)
        self.job = Job(self.root / "walk.json", "")

    # ------------------------------------------------------------------ what edits change

    @property
    def document(self) -> Json:
        return self.documents[self.family]

    @property
    def steps(self) -> list[Json]:
        steps: list[Json] = self.document["steps"]
        return steps

    @property
    def step(self) -> Json:
        """The step of the family's own pipeline, or the first one with a pipeline."""
        with_one = [step for step in self.steps if "pipeline" in step]
        own = [step for step in with_one if step["name"] in ("gen", "renamed")]
        self.require(with_one)
        return [*own, *with_one][0]

    @property
    def pipeline(self) -> Json:
        pipeline: Json = self.step["pipeline"]
        return pipeline

    @property
    def result(self) -> Json:
        result: Json | None = self.step.get("result")
        self.require(result)
        assert result is not None
        return result

    @property
    def configuration(self) -> Json:
        configuration: Json = self.pipeline["configuration"]
        return configuration

    @property
    def arguments(self) -> Json:
        arguments: Json = self.pipeline["arguments"]
        return arguments

    @property
    def loads(self) -> Json:
        """What stands under from_pretrained_arguments."""
        loads: Json = self.pipeline["from_pretrained_arguments"]
        return loads

    @property
    def model(self) -> Model:
        self.require(not self.is_example)
        return model_of(self.family, self.root)

    @property
    def is_example(self) -> bool:
        return self.family.startswith(EXAMPLE)

    @property
    def denoiser(self) -> str:
        if self.is_example:
            return "unet" if "StableDiffusion" in self.class_name else "transformer"
        return self.model.denoiser

    def settings(self, component: str) -> Json:
        """The settings of a component under `components`."""
        components: Json = self.configuration.setdefault("components", {})
        settings: Json = components.setdefault(component, {})
        return settings

    def takes(self, argument: str) -> None:
        """Raises NotApplicable unless the pipeline's call takes the argument."""
        cls = getattr(diffusers, self.class_name, None)
        self.require(cls and argument in call_parameters(cls))

    @property
    def class_name(self) -> str:
        name: str = self.configuration["component_type"]
        return name

    def require(self, fact: object) -> None:
        if not fact:
            raise NotApplicable

    def change(self, **values: Any) -> None:
        """Set fields of the next run."""
        self.job = replace(self.job, **values)

    # ------------------------------------------------------------------ a run

    def enter(self, family: str) -> None:
        self.family = family
        if family not in self.documents:
            self.documents[family] = self._first()
        here = EXAMPLES / family.removeprefix(EXAMPLE) if self.is_example else self.root / "walk"
        self.change(path=here.with_suffix(".json"), rehearse=self.is_example, arguments={})

    def _first(self) -> Json:
        """The workflow that edits begin with."""
        if not self.is_example:
            return self.model.document()
        path = EXAMPLES / f"{self.family.removeprefix(EXAMPLE)}.json"
        document: Json = parse_json(path.read_text(encoding="utf-8")).data
        variables = document.setdefault("variables", {})
        variables |= {name: value for name, value in SMALL.items() if name in variables}
        return document

    def next_job(self) -> Job:
        """Writes the workflows."""
        if self.sub:
            (self.root / "inner.json").write_text(json.dumps(self.sub, indent=1))
        text = json.dumps(self.document, indent=1)
        if not self.is_example:
            self.job.path.write_text(text)
        return replace(self.job, text=text)

    def once(self, undo: Undo) -> None:
        """What an edit has done is for one run."""
        self.undo.append((self.family, undo))

    def save(self, path: Path) -> Path:
        """The file or folder, which an edit is about to change. Those of examples are others'."""
        self.require(not self.is_example)
        if path not in self._saved:
            copy = self.root / "saved" / str(len(self._saved))
            copy.parent.mkdir(exist_ok=True)
            is_there = os.path.lexists(path)
            if is_there and path.is_dir() and not path.is_symlink():
                shutil.copytree(path, copy, symlinks=True)
            elif is_there:
                shutil.copy2(path, copy, follow_symlinks=False)
            self._saved[path] = copy if is_there else None
        return path

    def _restore(self) -> None:
        for path, saved in reversed(self._saved.items()):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            if saved is not None:
                saved.rename(path)

    def _forget(self) -> None:
        self._saved.clear()
        shutil.rmtree(self.root / "saved", ignore_errors=True)

    def ran(self, *, well: bool) -> None:
        """What was for one run only is over. After a run that ended badly the files are those of
        before its step."""
        self.change(commands=(), cut=None)
        family, undo, self.undo = self.family, self.undo, []
        for self.family, each in reversed(undo):
            each(self)
        self.family = family
        if not well:
            self._restore()
        self._forget()

    def kept(self) -> Any:
        """The workflows, to which a step is taken back that fails."""
        return self.family, copy.deepcopy(self.documents), copy.deepcopy(self.sub), self.job

    def take_back(self, kept: Any) -> None:
        self.family, self.documents, self.sub, self.job = kept


@dataclass(frozen=True)
class Kind:
    """A kind of edit. `loads`: the components that it may have loaded; None: any."""

    name: str
    apply: Callable[[World, Random], None]
    loads: Callable[[World], frozenset[str]] | None


KINDS: dict[str, Kind] = {}


def _kind(
    loads: Callable[[World], frozenset[str]] | None,
) -> Callable[[Callable[[World, Random], None]], Callable[[World, Random], None]]:
    def register(apply: Callable[[World, Random], None]) -> Callable[[World, Random], None]:
        name = apply.__name__
        assert name not in KINDS
        KINDS[name] = Kind(name, apply, loads)
        return apply

    return register


loads_nothing = _kind(lambda world: frozenset())
loads_anything = _kind(None)
loads_denoiser = _kind(lambda world: frozenset({world.denoiser, "unet", "transformer"}))


def loads_only(*components: str) -> Any:
    return _kind(lambda world: frozenset(components))

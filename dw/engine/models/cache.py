"""The component cache: loaded components, keyed by load spec. Pipelines are assembled from it and
never kept in it.

A run's needs are compared with what is there. What is not needed any more is dropped before
anything is loaded, so that old and new models are never in memory together.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from dw.engine.errors import failing
from dw.engine.models.fingerprint import Fingerprint
from dw.engine.models.live_models import LiveModels, base_dtypes, tensor_bytes, tensors
from dw.engine.models.loading import FileContent, load_component, load_single_file
from dw.engine.models.model_state import ModelState
from dw.engine.models.spec import ComponentSpec, PipelineSpec, SchedulerSpec


@dataclass(frozen=True, slots=True)
class StepRequirement:
    """A workflow step and the pipeline that it calls."""

    step: str
    pipeline: PipelineSpec


@dataclass(frozen=True, slots=True)
class LoadItem:
    """One thing to load: a component, or the single file of `need` while its content is
    unknown."""

    label: str
    cls: type
    spec: ComponentSpec | None
    need: StepRequirement

    @property
    def fingerprint(self) -> Fingerprint:
        """Of what it is loaded from."""
        source = self.spec or self.need.pipeline.single_file
        assert source is not None
        return source.fingerprint


@dataclass(frozen=True, slots=True)
class CachePlan:
    """What a set of needs keeps, loads and drops. Labels as in `gen.vae`."""

    kept: Mapping[ComponentSpec, str]  # with the label that it has in this plan
    loads: tuple[LoadItem, ...]
    dropped: tuple[str, ...]


class CachedComponent:
    """A component in memory. `nbytes` and `dtypes` are those after its load: a report may read them
    while a run changes the model. `state` has what calls change on it."""

    def __init__(self, label: str, spec: ComponentSpec, value: Any) -> None:
        self.label = label
        self.spec = spec
        self.value = value
        self.last_used = time.time()  # Unix time, seconds
        self.nbytes = tensor_bytes(tensors(value))
        self.dtypes = base_dtypes(value)
        self.state = ModelState(value)


class ComponentCache:
    """Changed by the thread that runs; `components` may be read by any."""

    def __init__(self, live_models: LiveModels) -> None:
        self._live_models = live_models
        self._lock = threading.Lock()
        self._store: dict[ComponentSpec, CachedComponent] = {}
        self._contents: dict[Any, FileContent] = {}

    def components(self) -> list[CachedComponent]:
        with self._lock:
            return list(self._store.values())

    def plan(self, needs: Sequence[StepRequirement]) -> CachePlan:
        wanted: dict[ComponentSpec, LoadItem] = {}
        files: dict[Any, LoadItem] = {}
        for need in needs:
            for name, spec in self._specs(need.pipeline).items():
                if spec is not None:
                    wanted.setdefault(spec, LoadItem(f"{need.step}.{name}", spec.cls, spec, need))
            file = need.pipeline.single_file
            if file is not None and not self._is_known(need.pipeline):
                load = LoadItem(f"{need.step}.{file.path.name}", file.cls, None, need)
                files.setdefault(file.content, load)
        loads = [load for spec, load in wanted.items() if spec not in self._store]
        # Files last: everything else is passed in when they are read, and not read from them.
        loads.sort(key=lambda load: load.spec is not None and load.spec.part is not None)
        return CachePlan(
            kept={spec: load.label for spec, load in wanted.items() if spec in self._store},
            loads=(*loads, *files.values()),
            dropped=tuple(c.label for spec, c in self._store.items() if spec not in wanted),
        )

    def keep_only(self, plan: CachePlan) -> None:
        """Drop what the plan does not keep, and free its memory."""
        with self._lock:  # a report in another thread reads the store
            self._store = {spec: self._store[spec] for spec in plan.kept}
            for spec, label in plan.kept.items():
                # Its files may have another place now: the one that they are looked for in.
                self._store[spec].label, self._store[spec].spec = label, spec
        if plan.dropped:
            gc.collect()  # a transformer that has run is a reference cycle

    def release(
        self, needs: Sequence[StepRequirement], *, still_needed: Sequence[StepRequirement]
    ) -> None:
        """Drop what `needs` are for, unless one of `still_needed` needs it, and free its memory."""
        kept = self.plan(still_needed).kept
        with self._lock:
            for spec in self.plan(needs).kept:
                if spec not in kept:
                    del self._store[spec]
        gc.collect()

    def load(self, plan: CachePlan, *, before: Callable[[LoadItem, int, int], None]) -> None:
        """Load the items of the plan, one after the other; `before` is called ahead of each with
        its number, from 1, and the total."""
        for index, load in enumerate(plan.loads, start=1):
            before(load, index, len(plan.loads))
            if load.spec is not None and load.spec in self._store:
                continue  # the item before was in the same file
            if load.spec is None or load.spec.part is not None:
                self._load_file(load.need)
            else:
                self._keep(load.label, load.spec, load_component(load.spec))

    def parts(self, spec: PipelineSpec) -> dict[str, Any]:
        """The components of a pipeline, by name. All of them must be loaded."""
        now = time.time()
        parts: dict[str, Any] = {}
        for name, component_spec in self._specs(spec).items():
            component = None if component_spec is None else self._store[component_spec]
            if component is not None:
                component.last_used = now
            parts[name] = None if component is None else component.value
        return parts

    def models(self, spec: PipelineSpec) -> dict[str, CachedComponent]:
        """The models among them."""
        parts = {name: part for name, part in self._specs(spec).items() if part is not None}
        found = {name: self._store[part] for name, part in parts.items()}
        return {n: c for n, c in found.items() if isinstance(c.value, torch.nn.Module)}

    def schedulers(self, spec: PipelineSpec) -> Mapping[str, SchedulerSpec]:
        return {**self._content(spec).schedulers, **spec.schedulers}

    def scalars(self, spec: PipelineSpec) -> Mapping[str, Any]:
        return {**self._content(spec).scalars, **spec.scalars}

    def fingerprints(self, needs: Sequence[StepRequirement]) -> dict[str, Fingerprint]:
        """Those of all components that are needed, by their label, as in `gen.vae`."""
        found: dict[str, Fingerprint] = {}
        for need in needs:
            for name, spec in self._specs(need.pipeline).items():
                if spec is not None:
                    found[f"{need.step}.{name}"] = spec.fingerprint
        return found

    def clear(self) -> None:
        with self._lock:
            self._store = {}
            self._contents = {}

    def forget(self, *components: CachedComponent) -> None:
        """Drop components that cannot be restored."""
        with self._lock:
            for component in components:
                self._store.pop(component.spec, None)

    def drop_changed(self) -> list[str]:
        """Drop the components whose weights may be changed in memory because their file was, and
        say what happened to each file."""
        on_host = [c for c in self.components() if c.spec.is_on_host]
        changes = [(c, change) for c in on_host if (change := c.spec.fingerprint.changed_weights())]
        for component, _ in changes:
            self.forget(component)
        return [change for _, change in changes]

    def _is_known(self, spec: PipelineSpec) -> bool:
        """Whether it is known what the single file of a pipeline has for it: it was read, and by a
        pipeline that took no part of it from elsewhere that this one does not."""
        assert spec.single_file is not None
        content = self._contents.get(spec.single_file.content)
        return content is not None and content.unread <= spec.components.keys()

    def _content(self, spec: PipelineSpec) -> FileContent:
        file = spec.single_file
        unknown = FileContent({}, {}, {})
        return unknown if file is None else self._contents.get(file.content, unknown)

    def _specs(self, spec: PipelineSpec) -> dict[str, ComponentSpec | None]:
        """The components of a pipeline, with those of its single file as far as they are known."""
        file = spec.single_file
        if file is None:
            return dict(spec.components)
        classes = self._content(spec).classes
        inside = {n: file.part(n, cls, spec.placement_plan) for n, cls in classes.items()}
        return {**inside, **spec.components}

    def _load_file(self, need: StepRequirement) -> None:
        """Read from a single file what is not loaded yet."""
        spec, file = need.pipeline, need.pipeline.single_file
        assert file is not None
        have = {
            name: None if component is None else self._store[component].value
            for name, component in self._specs(spec).items()
            if component is None or component in self._store
        }
        with failing(lambda: f"loading {need.step}.{file.path.name}"):  # not one of its parts
            parts, content = load_single_file(file, have, spec.placement_plan)
        given = frozenset(spec.components)
        known = self._contents.get(file.content, replace(content, unread=given))
        self._contents[file.content] = replace(
            content,
            classes={**known.classes, **content.classes},
            unread=known.unread & given,
        )
        for name, value in parts.items():
            self._keep(
                f"{need.step}.{name}", file.part(name, type(value), spec.placement_plan), value
            )

    def _keep(self, label: str, spec: ComponentSpec, value: Any) -> None:
        self._live_models.add(label, value)  # `clear` proves with it what is freed
        with self._lock:
            self._store[spec] = CachedComponent(label, spec, value)

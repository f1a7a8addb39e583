"""Model state: the changes that calls make on a loaded model, in their order, and their undoing.

Models stay loaded and are shared by every pipeline, so that the changes of the last call are still
there. Each model has its changes as a stack, in one order for all (`Layer`). Before a call, each is
rewound to what it has in common with what is wanted, and the rest is applied. There is one way to
undo, whatever was changed and whoever changed it: the snapshot that was taken below. So a warm
model goes through the same changes, in the same order, as one that was just loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, auto
from typing import Any

from dw.engine.models.snapshot import Snapshot


class Layer(IntEnum):
    """The order of changes, from the bottom. Each finds what it must not miss already there:
    adapters keep or replace processors, a backend is set on the processors of adapters, slices on
    what adapters left, hooks go on all of it; scales are numbers, and change above everything."""

    CONSTRUCTOR = auto()  # some pipelines change their models when they are assembled
    PROCESSOR = auto()
    SETTING = auto()
    LORA = auto()
    IP_ADAPTER = auto()
    ATTENTION = auto()
    OFFLOAD = auto()
    LORA_SCALE = auto()
    IP_ADAPTER_SCALE = auto()


@dataclass(frozen=True)
class Change:
    """A change of some models of a pipeline. Two with equal layer, name and value do the same."""

    layer: Layer
    name: str
    value: Any
    models: frozenset[str] = field(compare=False)  # the names of the components that it changes
    apply: Callable[[Any], None] = field(compare=False)  # to the pipeline
    can_be_undone: bool = field(compare=False, default=True)


class ModelState:
    """What is on one model. Belongs to its entry in the cache and goes with it. Components of other
    kinds, such as tokenizers, have nothing to change."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._changes: list[Change] = []
        self._snapshots = [Snapshot(model)]  # as loaded, and after each change

    def __len__(self) -> int:
        return len(self._changes)

    def has(self, index: int, change: Change) -> bool:
        """Whether the change is there, above `index` others."""
        return index < len(self._changes) and self._changes[index] == change

    def push(self, change: Change) -> None:
        """The change was applied."""
        self._changes.append(change)
        is_offloaded = any(c.layer is Layer.OFFLOAD for c in self._changes)
        self._snapshots.append(Snapshot(self.model, hooks=not is_offloaded))

    def rewind(self, count: int) -> bool:
        """Undo all but the first changes, and whatever else was changed on the model. False when
        that is impossible: the model must be loaded again."""
        undone = self._changes[count:]
        del self._changes[count:], self._snapshots[count + 1 :]
        if not all(change.can_be_undone for change in undone):
            return False
        snapshot = self._snapshots[-1]
        return (not undone and snapshot.is_current()) or snapshot.restore()

    def is_current(self, model: Any) -> bool:
        """Whether `model` is this one, and nothing but its changes was changed on it."""
        return model is self.model and self._snapshots[-1].is_current()


States = Mapping[str, ModelState]
"""The models of a pipeline, by the name of their component."""


def rewind(states: States, wanted: Sequence[Change]) -> tuple[list[Change], frozenset[str]]:
    """Undo what is not wanted. Returns what is still to be applied, and the names of the models
    that must be loaded again. `wanted` is in the order of the layers.

    A change of several models is kept where it is on all of them, above nothing but what is kept.
    """
    depths, missing = _common(states, wanted)
    lost = frozenset(name for name, state in states.items() if not state.rewind(depths[name]))
    return missing, lost


def _common(states: States, wanted: Sequence[Change]) -> tuple[dict[str, int], list[Change]]:
    """How many changes each model keeps, and what is wanted besides."""
    depths = dict.fromkeys(states, 0)
    broken: set[str] = set()  # models that lack a wanted change: what is above it goes
    missing: list[Change] = []
    for change in wanted:
        models = change.models & depths.keys()
        if not models & broken and all(states[n].has(depths[n], change) for n in models):
            depths.update({name: depths[name] + 1 for name in models})
        else:
            missing.append(change)
            broken |= models
    return depths, missing


def has_only(states: States, wanted: Sequence[Change]) -> bool:
    """Whether the models have what is wanted and no other change that is known."""
    depths, missing = _common(states, wanted)
    return not missing and all(len(state) == depths[name] for name, state in states.items())


def constructed(models: frozenset[str]) -> Change:
    """What a pipeline's constructor has done to its models. It equals no other: it is done again
    each time."""
    return Change(Layer.CONSTRUCTOR, "constructor", object(), models, lambda _: None)


def changed_models(pipeline: Any, states: States) -> frozenset[str]:
    """The names of the models that are not as their changes left them, or that the constructor of
    a pipeline replaced."""
    models = ((name, state, getattr(pipeline, name, state.model)) for name, state in states.items())
    return frozenset(name for name, state, model in models if not state.is_current(model))


def apply(pipeline: Any, states: States, missing: Iterable[Change]) -> None:
    """Apply changes, from the bottom. What one that fails has done goes with the next rewind."""
    for change in missing:
        change.apply(pipeline)
        for name in change.models & states.keys():
            states[name].push(change)

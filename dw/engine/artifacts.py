"""The results of steps, and what later steps and files take from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from diffusers.utils import BaseOutput

from dw.errors import RunFailed
from dw.workflow.references import split_previous_result

ATTRIBUTES = ("images", "image_embeds", "image_embeddings", "frames")
"""Where a pipeline's output keeps its artifacts, in the order in which they are looked for."""


def artifacts(result: Any) -> list[Any]:
    """The single things that a result is made of: pictures, videos (lists of frames), texts,
    mappings."""
    for name in ATTRIBUTES:
        if (found := getattr(result, name, None)) is not None:
            return list(found)
    if isinstance(result, list):
        return list(result)
    return [result]


class Results:
    """The results of the steps that ran, while a later step needs them."""

    def __init__(self, steps: Iterable[str]) -> None:
        self._names = tuple(steps)
        self._results: dict[str, list[Any]] = {}

    def keep(self, step: str, results: list[Any]) -> None:
        self._results[step] = results

    def retain(self, references: Iterable[str]) -> None:
        """Drop every result that none of the `previous_result:` references means."""
        needed = {self._step_and_property(text)[0] for text in references}
        self._results = {name: found for name, found in self._results.items() if name in needed}

    def values(self, reference: str) -> list[Any]:
        """What `previous_result:STEP` or `previous_result:STEP.PROPERTY` stands for: one value per
        iteration.

        Raises RunFailed when the results have no such property.
        """
        step, name = self._step_and_property(reference)
        results = self._results[step]
        if name is None:
            return [artifact for result in results for artifact in artifacts(result)]
        found = (_property(result, name, step) for result in results if not _lacks(result, name))
        return list(found)

    def _step_and_property(self, reference: str) -> tuple[str, str | None]:
        found = split_previous_result(reference, self._names)
        if found is None:
            raise RunFailed(f"there is no step for {reference!r}")
        return found


def on_host(result: Any) -> Any:
    """The same result with its tensors in host memory, so that it holds nothing on the device."""
    if isinstance(result, torch.Tensor):
        return result.cpu()
    if isinstance(result, Mapping):
        for name, value in result.items():
            if isinstance(value, torch.Tensor) and value.device.type != "cpu":
                result[name] = value.cpu()  # type: ignore[index]
    return result


def _lacks(result: Any, name: str) -> bool:
    """A plain mapping without the name is skipped; a pipeline's output must have it."""
    return isinstance(result, Mapping) and not isinstance(result, BaseOutput) and name not in result


def _property(result: Any, name: str, step: str) -> Any:
    if isinstance(result, Mapping) and name in result:
        return result[name]
    value = getattr(result, name, None)
    if value is None or callable(value):
        raise RunFailed(f"the result of step {step!r} has no {name!r}")
    return value

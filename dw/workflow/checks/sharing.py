"""Sharing: pipelines and components that a step uses from an earlier one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dw.errors import did_you_mean
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.json_path import JsonPath, spell_value


def check_pipeline_references(data: dict[str, Any]) -> Diagnostics:
    """Steps that use the pipeline of an unknown or later step, or of one without a pipeline."""
    given = data.get("steps")
    steps = given if isinstance(given, list) else []
    for index, step in enumerate(steps):
        for path, name in _references(step):
            if message := _reference_error(name, steps[:index], steps):
                yield DataDiagnostic(("steps", index, *path), message)


def _references(step: Any) -> Iterator[tuple[JsonPath, str]]:
    """The path and name of the step whose pipeline this one calls or its task uses."""
    if not isinstance(step, dict):
        return
    for path in (("pipeline_reference", "reference_name"), ("task", "pipeline_reference")):
        action = step.get(path[0])
        name = action.get(path[1]) if isinstance(action, dict) else None
        if isinstance(name, str) and name:
            yield path, name


def _reference_error(name: str, earlier: Sequence[Any], steps: Sequence[Any]) -> str | None:
    if (step := _named(name, earlier)) is not None:
        if step.get("pipeline") is None:
            return f"step {name!r} has no pipeline"
        releasing = next((s for s in earlier if _releases(s, name)), None)
        if releasing is None:
            return None
        return f"step {releasing['name']!r} releases the pipeline of step {name!r}"
    if _named(name, steps) is not None:
        return f"step {name!r} is not an earlier step: its pipeline does not exist yet"
    with_pipeline = [s["name"] for s in earlier if isinstance(s, dict) and s.get("pipeline")]
    hint = did_you_mean(name, with_pipeline)
    return f"unknown step {spell_value(name)}{hint}"


def _releases(step: Any, name: str) -> bool:
    """Whether a step frees the pipeline of the step `name`, as its own or as the one it calls."""
    if not isinstance(step, dict) or step.get("release_pipeline") is not True:
        return False
    reference = step.get("pipeline_reference")
    called = reference.get("reference_name") if isinstance(reference, dict) else None
    return name in (step.get("name"), called)


def _named(name: str, steps: Sequence[Any]) -> dict[str, Any] | None:
    return next((s for s in steps if isinstance(s, dict) and s.get("name") == name), None)


def check_reused(data: dict[str, Any]) -> Diagnostics:
    """Reused components that no earlier step shares."""
    steps = data.get("steps")
    shared: list[str] = []
    for index, step in enumerate(steps if isinstance(steps, list) else ()):
        pipeline = step.get("pipeline") if isinstance(step, dict) else None
        if not isinstance(pipeline, dict):
            continue
        for path, name in _listed(pipeline, "reused_components"):
            here = ("steps", index, "pipeline", *path)
            if name not in shared:
                known = ", ".join(shared)
                others = f"shared are {known}" if known else "list it in its 'shared_components'"
                hint = did_you_mean(name, shared) or f"; {others}"
                yield DataDiagnostic(here, f"no earlier step shares {name!r}{hint}")
            elif isinstance(pipeline.get(name), dict) and "configuration" in pipeline[name]:
                yield DataDiagnostic(here, f"{name!r} has an override here and cannot be reused")
        shared += [name for _, name in _listed(pipeline, "shared_components")]


def _listed(pipeline: dict[str, Any], key: str) -> Iterator[tuple[JsonPath, str]]:
    """The names in a list beside `configuration` or inside it, with their paths."""
    for where, holder in (((), pipeline), (("configuration",), pipeline.get("configuration"))):
        names = holder.get(key) if isinstance(holder, dict) else None
        for index, name in enumerate(names if isinstance(names, list) else ()):
            if isinstance(name, str):
                yield (*where, key, index), name

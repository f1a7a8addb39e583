"""Ranges: numbers among the arguments of a call that its annotations allow and it cannot take."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from inspect import Parameter
from typing import Any

from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.json_path import spell_value

COUNT = re.compile(
    r"(\w+_)?(num_inference_steps|num_frames|batch_size|chunk_size|per_prompt|per_image|per_chunk)"
    r"|height|width|frames|video_length|fps|frame_rate|max_sequence_length|max_new_tokens"
    r"|ensemble_size|callback_steps"
)
"""Names of what must be there at least once."""


def check_ranges(
    cls: Any, parameters: Mapping[str, Parameter], arguments: Mapping[str, Any]
) -> Diagnostics:
    """Counts below 1, and a strength that leaves no step. Paths begin at the arguments."""
    for name, value in arguments.items():
        if type(value) not in (int, float) or name not in parameters:
            continue
        wanted = None
        if COUNT.fullmatch(name) and value < 1 and parameters[name].default != 0:
            wanted = "at least 1"
        elif name == "clip_skip" and value < 0:
            wanted = "at least 0"
        elif name == "strength" and not 0 < value <= 1:
            wanted = "above 0 and at most 1"
        if wanted:
            yield DataDiagnostic((name,), f"{name!r} must be {wanted}, got {spell_value(value)}")
    yield from _check_strength(cls, parameters, arguments)


def _check_strength(
    cls: Any, parameters: Mapping[str, Parameter], arguments: Mapping[str, Any]
) -> Diagnostics:
    """A strength below 1 leaves out the first steps; some pipelines round down what is left."""
    if "strength" not in parameters or "num_inference_steps" not in parameters:
        return
    strength = arguments.get("strength", parameters["strength"].default)
    steps = arguments.get("num_inference_steps", parameters["num_inference_steps"].default)
    if not isinstance(strength, int | float) or type(steps) is not int:
        return
    if arguments.get("denoising_start") is not None or not 0 < strength <= 1 or steps < 1:
        return
    rounds_down = "int(num_inference_steps * strength)" in _source(cls, "get_timesteps")
    if rounds_down and int(steps * strength) < 1:
        name = "strength" if "strength" in arguments else "num_inference_steps"
        message = f"'strength' {strength:g} of {steps} steps leaves none"
        yield DataDiagnostic(
            (name,), f"{message}: at least {-(-1 // strength):.0f} steps are needed"
        )


def _source(cls: Any, method: str) -> str:
    try:
        return inspect.getsource(getattr(cls, method))
    except (AttributeError, OSError, TypeError):
        return ""

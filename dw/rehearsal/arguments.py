"""Arguments of a rehearsed call: few steps, small images and short videos.

Arguments that the user typed stay; others that would take long are replaced, with a warning.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from inspect import Parameter
from typing import Any

from dw.workflow.media import media_kind
from dw.workflow.substitution import variable_name

STEPS = 4
STEPS_OF_A_PART = 10  # for a call that starts late or ends early: some of them must remain
SIDE = 256  # the longest side of an image or a video, in pixels
ALIGNED = 64  # all sides are multiples of it
FRAMES = 17  # 8 n + 1 and 4 n + 1: video VAEs take one or the other
FRAMES_OF = {"MiniMaxH3ModularPipeline": 124}  # five seconds, its shortest video
SECONDS = 5.0  # of audio

_SIDES = frozenset({"height", "width"})
_PART = frozenset({"strength", "denoising_start", "denoising_end"})
_FIXED = {"use_resolution_binning": False, "max_area": SIDE * SIDE, "_auto_resize": False}
"""Arguments by which pipelines choose a larger size than the requested one."""


GIVEN = {"FluxPriorReduxPipeline": {"prompt": ""}}
"""Arguments without which the output of a pipeline fits the real models only."""


def smaller(
    parameters: Mapping[str, Parameter],
    arguments: Mapping[str, Any],
    kept: Collection[str],
    *,
    frames: int = FRAMES,
) -> dict[str, Any]:
    """Replacements for arguments of a call, of those that it takes, by name.

    `kept` are names of arguments that stay as they are; one kept side keeps the other one.
    `frames` is the maximum for a video.
    """
    kept = {*kept, *(_SIDES if _SIDES & set(kept) else ())}
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    given = {**defaults, **arguments}
    wanted = dict(_wanted(given, arguments, frames))
    found = {n: v for n, v in wanted.items() if n in given and n not in kept and given[n] != v}
    if _SIDES & found.keys():
        found |= {n: v for n, v in _FIXED.items() if n in parameters and n not in arguments}
    return found


def replacement_note(arguments: Mapping[str, Any], replaced: Mapping[str, Any]) -> str | None:
    """The warning about replaced arguments; None if the workflow gives none of them."""
    parts = [
        f"{name}={value} instead of {arguments[name]}"
        for name, value in replaced.items()
        if name in arguments
    ]
    return f"rehearsed with {', '.join(parts)}" if parts else None


def chosen(call: Mapping[str, Any], variables: Collection[str]) -> frozenset[str]:
    """The arguments of a step, as written in its file, that hold one of the variables."""
    return frozenset(
        name
        for name, value in call.items()
        if isinstance(value, str) and variable_name(value) in variables
    )


def _wanted(
    given: Mapping[str, Any], arguments: Mapping[str, Any], frames: int
) -> Iterator[tuple[str, Any]]:
    steps = STEPS_OF_A_PART if _PART & arguments.keys() else STEPS
    limits = {"num_inference_steps": steps, "num_frames": frames}
    for name, limit in limits.items():
        if _is_more(given.get(name), limit):
            yield name, limit
    for name in ("audio_end_in_s", "audio_length_in_s"):
        if given.get(name, 0) is None or _is_more(given.get(name), SECONDS):
            yield name, SECONDS
    sides = {name: given.get(name) for name in ("height", "width")}
    numbers = [side for side in sides.values() if isinstance(side, int)]
    if len(numbers) == 2 and max(numbers) > SIDE:
        scale = SIDE / max(numbers)
        for name, side in zip(sides, numbers, strict=True):
            yield name, max(ALIGNED, int(side * scale) // ALIGNED * ALIGNED)
    elif not numbers and not any(map(media_kind, arguments)):  # else the medium's size counts
        yield from dict.fromkeys(sides, SIDE).items()


def _is_more(value: Any, limit: float) -> bool:
    return isinstance(value, int | float) and value > limit

"""Chain: one long video from several calls of a pipeline, each continuing the one before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.scalars import Many, Text
from dw.workflow.format.section import Section
from dw.workflow.json_path import JsonPath

REFERENCES = "references"
"""The argument with the audio that a video is made for."""


class FrameSnap(Section):
    """Frame counts that a model can generate: a multiple of `modulus`, plus `remainder`."""

    closed = True

    modulus: int = Field(ge=1, description="distance between the counts: 4 for 4n+1")
    remainder: int = Field(0, ge=0, description="added to the multiple: 1 for 4n+1")
    min_frames: int = Field(1, ge=1, description="frames of the shortest segment")
    max_frames: int | None = Field(
        None, ge=1, description="frames of the longest segment; default: any"
    )

    def __str__(self) -> str:
        most = f", at most {self.max_frames}" if self.max_frames else ""
        return f"{self.modulus}n+{self.remainder}, at least {self.min_frames}{most}"

    def fits(self, frames: int) -> bool:
        is_within = self.min_frames <= frames <= (self.max_frames or frames)
        return is_within and (frames - self.remainder) % self.modulus == 0

    def up(self, frames: int) -> int:
        """The next count that the model can generate, or its largest."""
        up = self._down(max(frames, self.min_frames) + self.modulus - 1)
        return up if self.max_frames is None else min(up, self._down(self.max_frames))

    def _down(self, frames: int) -> int:
        return frames - (frames - self.remainder) % self.modulus

    @classmethod
    def conflicts(cls, data: Mapping[str, Any], /) -> Diagnostics:
        modulus, remainder = data.get("modulus"), data.get("remainder", 0)
        least, most = data.get("min_frames", 1), data.get("max_frames")
        if _are_numbers(modulus, remainder) and remainder >= modulus:
            yield DataDiagnostic(
                ("remainder",), f"'remainder' must be below 'modulus', got {remainder}"
            )
        if _are_numbers(least, most) and most < least:
            yield DataDiagnostic(
                ("max_frames",), f"'max_frames' must be at least {least}, got {most}"
            )


class Chain(Section):
    """Calls the pipeline several times and joins the videos. Each call continues the segment before
    it. `segments` or `match_audio` sets the number of calls; all share one random generator."""

    closed = True

    segments: int | None = Field(None, ge=1, le=1000, description="number of calls")
    match_audio: bool = Field(
        False,
        description="instead of segments: as many calls as the audio in the argument references is "
        "long; it becomes the audio of the video",
    )
    continuity: Literal["last_frame", "last_segment"] = Field(
        "last_frame",
        description="what the next call receives: the last frame, or the segment before it as a "
        "reference",
    )
    segment_argument: Text = Field(
        "image",
        description="argument of the call that receives it; to a list it is appended, as an object "
        "of the same class as those in it",
    )
    carry_frames: int | None = Field(
        None,
        ge=1,
        description="with last_segment: number of its last frames to pass on; default: all",
    )
    carry_audio: bool = Field(
        True, description="with last_segment: also pass on the audio of these frames"
    )
    trim_frames: int = Field(
        1,
        ge=0,
        description="frames cut from the start of each later segment, where it repeats the one "
        "before it",
    )
    crossfade_ms: float = Field(
        75,
        ge=0,
        le=60_000,
        description="milliseconds of the crossfade, with equal power, between the audio of two "
        "segments, at most the trimmed time; without trimming, both ends are faded for 3 ms",
    )
    fps: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="frames per second, for cutting audio; default: the call's argument frame_rate",
    )
    frame_snap: FrameSnap | None = Field(
        None, description="frame counts that the model can generate"
    )
    prompts: Many[Text] = Field(
        (),
        description="prompts of the segments, the last one for all further segments; each may be "
        "previous_result:STEP",
    )
    save_segments: bool = Field(
        False, description="keep the segments in files during the run, not in memory"
    )
    keep_segments: bool = Field(
        False, description="with save_segments: leave these files in the run's folder"
    )

    @classmethod
    def conflicts(cls, data: Mapping[str, Any], /) -> Diagnostics:
        has_segments, matches = data.get("segments") is not None, data.get("match_audio") is True
        if has_segments and matches:
            message = "'segments' and 'match_audio' exclude each other"
            yield DataDiagnostic(("match_audio",), message, at_key=True)
        elif not has_segments and not matches:
            yield DataDiagnostic((), "'chain' needs 'segments' or 'match_audio'")
        if data.get("continuity", "last_frame") == "last_frame":
            for name in ("carry_frames", "carry_audio"):
                if name in data:
                    message = f"{name!r} does nothing without 'continuity': 'last_segment'"
                    yield DataDiagnostic((name,), message, "warning", at_key=True)
        if data.get("keep_segments") is True and data.get("save_segments") is not True:
            message = "'keep_segments' does nothing without 'save_segments'"
            yield DataDiagnostic(("keep_segments",), message, "warning", at_key=True)


def check_chain(action: Mapping[str, Any]) -> Diagnostics:
    """Conflicts between the chain of an action and its arguments, as far as both are given. Paths
    begin at the action."""
    chain, arguments = action.get("chain"), action.get("arguments")
    if not isinstance(chain, dict) or not isinstance(arguments, dict):
        return
    frames, trim = arguments.get("num_frames"), chain.get("trim_frames", 1)
    if _are_numbers(frames, trim) and frames <= trim:
        message = f"'trim_frames' must be below 'num_frames', which is {frames}, got {trim}"
        yield DataDiagnostic(("chain", "trim_frames"), message)
    yield from _check_snap(chain.get("frame_snap"), frames)
    needed: dict[str, str] = {}  # lists, as references are appended to them or looked up in them
    if chain.get("match_audio") is True:
        needed[REFERENCES] = "'match_audio' needs a list of references with audio"
    if chain.get("continuity") == "last_segment":
        name = chain.get("segment_argument", "image")
        needed[str(name)] = "'last_segment' needs a list of references"
    for name, message in needed.items():
        if not isinstance(arguments.get(name), list | str):  # a string may be a reference
            where: JsonPath = ("arguments", name) if name in arguments else ("arguments",)
            yield DataDiagnostic(where, f"{message} in the argument {name!r}")


def _check_snap(data: Any, frames: Any) -> Diagnostics:
    if not isinstance(data, dict) or any(FrameSnap.conflicts(data)) or not _are_numbers(frames):
        return
    try:
        snap = FrameSnap.model_validate(data)
    except ValueError:
        return  # `check_shape` reports it
    if not snap.fits(frames):
        message = f"'num_frames' must be {snap}, such as {snap.up(frames)}, got {frames}"
        yield DataDiagnostic(("arguments", "num_frames"), message)


def _are_numbers(*values: Any) -> bool:
    return all(type(value) is int for value in values)

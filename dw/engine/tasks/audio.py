"""Audio tasks: slice and crossfade."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from dw.engine.media.audio import Audio, as_audio, fitted
from dw.engine.media.joining import crossfaded
from dw.engine.media.segments import samples_at
from dw.engine.tasks.arguments import Count, Positive
from dw.engine.tasks.registry import task
from dw.engine.tasks.video import CROSSFADE_MS, Milliseconds, Rate
from dw.errors import RunFailed

Seconds = Annotated[float, Field(ge=0)]


@task()
def slice_audio(
    audio: Any,
    start_seconds: Seconds | None = None,
    duration_seconds: Seconds | None = None,
    start_frame: Count | None = None,
    num_frames: Positive | None = None,
    fps: Rate | None = None,
    sample_rate: Positive | None = None,
) -> Audio:
    """A part of an audio, given in seconds or in frames of a video, padded with silence if the
    audio ends before the part does."""
    waveform = as_audio(audio, sample_rate)
    if waveform.rate is None:
        raise RunFailed("slice_audio needs 'sample_rate': the sample rate of this audio is unknown")
    match start_seconds, duration_seconds, start_frame, num_frames, fps:
        case float() | int(), float() | int(), None, None, None:
            begin = round(start_seconds * waveform.rate)
            end = round((start_seconds + duration_seconds) * waveform.rate)
        case None, None, int(), int(), float() | int():
            begin = samples_at(start_frame, fps, waveform.rate)
            end = samples_at(start_frame + num_frames, fps, waveform.rate)
        case _:
            raise RunFailed(
                "slice_audio needs 'start_seconds' and 'duration_seconds', or 'start_frame', "
                "'num_frames' and 'fps'"
            )
    if begin >= len(waveform):
        raise RunFailed(
            f"the audio ends after {len(waveform) / waveform.rate:.2f} s, before the part begins"
        )
    return Audio(fitted(waveform.samples[begin:], end - begin), waveform.rate)


@task()
def crossfade_audio(
    audios: list[Any],
    crossfade_ms: Milliseconds = CROSSFADE_MS,
    sample_rate: Positive | None = None,
) -> Audio:
    """Audio files joined in order; each overlaps the end of the one before, with equal power."""
    waveforms = [as_audio(audio, sample_rate) for audio in audios]
    if not waveforms:
        raise RunFailed("crossfade_audio needs at least one audio")
    return crossfaded(waveforms, crossfade_ms)

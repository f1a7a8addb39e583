"""Video tasks: frames, audio tracks, and concatenation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field

from dw.engine.files.inputs import read_video
from dw.engine.media.audio import as_audio
from dw.engine.media.image import rgb
from dw.engine.media.joining import joined_videos
from dw.engine.media.video import Video, as_video
from dw.engine.tasks.arguments import Count, Positive
from dw.engine.tasks.gather import gather
from dw.engine.tasks.registry import TaskContext, task
from dw.errors import RunFailed

Milliseconds = Annotated[float, Field(ge=0, le=60_000)]
Rate = Annotated[float, Field(gt=0, le=1000)]

CROSSFADE_MS = 75.0


@task()
def gather_videos(
    *, context: TaskContext, glob: str | None = None, urls: Sequence[str] = ()
) -> list[Video]:
    """The videos, with their audio, that match a pattern, relative to the workflow's folder or else
    the current one, sorted by name; then those at the URLs."""
    return gather("video", read_video, context, glob, urls)


@task()
def get_frame(video: Any, frame_index: int = 0) -> Image.Image:
    """The frame of this index, from 0; negative indices count from the end, from -1."""
    clip = as_video(video)
    if not -len(clip) <= frame_index < len(clip):
        raise RunFailed(f"frame {frame_index} is out of range for a video of {len(clip)} frames")
    return clip.frame(frame_index)


@task()
def get_first_frame(video: Any) -> Image.Image:
    return as_video(video).frame(0)


@task()
def get_last_frame(video: Any) -> Image.Image:
    return as_video(video).frame(-1)


@task()
def video_frames(video: Any) -> npt.NDArray[np.uint8]:
    """All frames as one array (frames, height, width, 3)."""
    return np.stack([np.asarray(rgb(frame)) for frame in as_video(video)])


@task()
def concat_videos(
    videos: list[Any],
    trim_frames: Count = 0,
    crossfade_ms: Milliseconds = CROSSFADE_MS,
    fps: Rate | None = None,
) -> Video:
    """The videos joined in order, the later ones without their first `trim_frames` frames.

    Their audio is crossfaded over the trimmed frames; without any, the ends are faded for 3 ms.
    `fps` relates frames to audio samples; the default is that of the videos.
    """
    clips = [as_video(video) for video in videos]
    if not clips:
        raise RunFailed("concat_videos needs at least one video")
    return joined_videos(clips, trim=trim_frames, crossfade_ms=crossfade_ms, fps=fps)


@task()
def pair_audio(video: Any, audio: Any, sample_rate: Positive | None = None) -> Video:
    """The video with this audio. `sample_rate` is that of an audio whose own rate is unknown."""
    clip = as_video(video)
    return Video(clip.frames, as_audio(audio, sample_rate), clip.fps)

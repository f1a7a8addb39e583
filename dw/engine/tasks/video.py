"""Commands on films: their frames, their sounds, and films behind each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field

from dw.engine.files.inputs import read_video
from dw.engine.media.audio import as_audio
from dw.engine.media.joining import joined_videos
from dw.engine.media.video import Video, as_video
from dw.engine.tasks.arguments import Count, Positive
from dw.engine.tasks.gather import matches
from dw.engine.tasks.registry import TaskContext, task
from dw.errors import RunFailed
from dw.workflow.media import EXTENSIONS

Milliseconds = Annotated[float, Field(ge=0, le=60_000)]
Rate = Annotated[float, Field(gt=0, le=1000)]

CROSSFADE_MS = 75.0


@task()
def gather_videos(
    *, context: TaskContext, glob: str | None = None, urls: Sequence[str] = ()
) -> list[Video]:
    """The films that match a pattern, relative to the workflow's folder or else the current one,
    in the order of their names; then those at the URLs. They keep their sounds."""
    places = matches(glob, context.access.folder, EXTENSIONS["video"])
    access = context.access.extended(glob, places)
    videos = []
    for place in [*places, *urls]:
        context.check()
        videos.append(read_video(place, access))
    if not videos:
        raise RunFailed(
            f"no videos match {glob!r}" if glob else "gather_videos needs 'glob' or 'urls'"
        )
    return videos


@task()
def get_frame(video: Any, frame_index: int = 0) -> Image.Image:
    """The frame of this number, from 0; from -1 backwards, it is counted from the end."""
    clip = as_video(video)
    if not -len(clip) <= frame_index < len(clip):
        raise RunFailed(f"there is no frame {frame_index} in a video of {len(clip)} frames")
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
    return np.stack([np.asarray(frame.convert("RGB")) for frame in as_video(video)])


@task()
def concat_videos(
    videos: list[Any],
    trim_frames: Count = 0,
    crossfade_ms: Milliseconds = CROSSFADE_MS,
    fps: Rate | None = None,
) -> Video:
    """The films behind each other, the later ones without their `trim_frames` first frames.

    Their sounds are crossfaded over what was trimmed; where nothing is, their ends are faded for
    3 ms. `fps` tells where in a sound a frame is; by default the films tell it.
    """
    clips = [as_video(video) for video in videos]
    if not clips:
        raise RunFailed("concat_videos needs at least one video")
    return joined_videos(clips, trim=trim_frames, crossfade_ms=crossfade_ms, fps=fps)


@task()
def pair_audio(video: Any, audio: Any, sample_rate: Positive | None = None) -> Video:
    """The film with this sound. `sample_rate` is for a waveform that does not tell its own."""
    clip = as_video(video)
    return Video(clip.frames, as_audio(audio, sample_rate), clip.fps)

"""Frame interpolation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from PIL import Image

from dw.engine.media.image import as_image, as_pixels, rgb
from dw.engine.media.video import FPS, Video, as_video
from dw.engine.patches.progress_bars import Bar
from dw.engine.tasks.parts import TaskPart, TaskParts
from dw.engine.tasks.registry import TaskContext, task
from dw.engine.tasks.rife import IFNet
from dw.errors import RunFailed

MODEL, WEIGHTS = "imaginairy/rife-interpolation", "rife-flownet-4.13.2.safetensors"


def _interpolator(arguments: Mapping[str, Any]) -> TaskParts:
    from dw.rehearsal.task_stand_ins import Blender

    name, file = arguments["model_name"], arguments["filename"]
    if name == MODEL:
        file = file or WEIGHTS
    return {"model": TaskPart(IFNet, name, Blender, files=(file,))}


@task(models=_interpolator)
def interpolate_frames(
    video: Any,
    multiplier: Literal[2, 4, 8] = 2,
    model_name: str = MODEL,
    filename: str | None = None,
    *,
    context: TaskContext,
) -> Video:
    """`multiplier` times as many frames per second, the new ones by RIFE 4.13. The video keeps its
    audio and its length, for which the last frame is repeated. `model_name` is a hub id with the
    file `filename` in it, or a file."""
    clip = as_video(video)
    moments = [number / multiplier for number in range(1, multiplier)]
    frames: list[Image.Image] = []
    last: torch.Tensor | None = None
    for each in Bar(clip, total=len(clip), phase="frame"):
        frame = rgb(each)
        pixels = context.on_device(as_pixels(frame))
        if last is not None:
            if frame.size != frames[-1].size:
                sizes = " and ".join("{}x{}".format(*each.size) for each in (frames[-1], frame))
                raise RunFailed(f"frames of several sizes cannot be interpolated: {sizes}")
            for image in context.models["model"](last, pixels, moments):
                context.check()
                frames.append(as_image(image[0]))
        frames.append(frame)
        last = pixels
    frames += frames[-1:] * len(moments)
    return Video(frames, clip.audio, (clip.fps or FPS) * multiplier)

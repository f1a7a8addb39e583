"""Depth estimators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image

from dw.engine.media.image import rgb
from dw.engine.tasks.arguments import Side
from dw.engine.tasks.parts import TaskPart, TaskParts
from dw.engine.tasks.registry import TaskContext, task

HYBRID = "Intel/dpt-hybrid-midas"
LARGE = "Intel/dpt-large"
ZOE = "Intel/zoedepth-nyu-kitti"


def _estimator(arguments: Mapping[str, Any]) -> TaskParts:
    from transformers import AutoImageProcessor, AutoModelForDepthEstimation

    name = arguments["model_name"]
    return {
        "model": TaskPart(AutoModelForDepthEstimation, name, "depth"),
        "processor": TaskPart(AutoImageProcessor, name, "depth", has_weights=False),
    }


@task(models=_estimator)
def depth(
    image: Image.Image,
    height: Side = 1024,
    width: Side = 1024,
    model_name: str = HYBRID,
    *,
    context: TaskContext,
) -> Image.Image:
    """A depth map of this size, white is near, as in the training of SDXL's depth ControlNets."""
    found = _estimated(image, context)[None, None]
    resized = torch.nn.functional.interpolate(
        found, (height, width), mode="bicubic", align_corners=False
    )
    return _image(_spread(resized[0, 0], 0, 100))


@task(models=_estimator)
def depth_estimator(
    image: Image.Image, model_name: str = LARGE, *, context: TaskContext
) -> Image.Image:
    """A depth map of the image's size, white is near."""
    return _image(_spread(_fitted(image, context), 0, 100))


@task(models=_estimator)
def depth_estimator_tensor(
    image: Image.Image,
    dtype: torch.dtype = torch.float32,
    model_name: str = LARGE,
    *,
    context: TaskContext,
) -> torch.Tensor:
    """The depth map as a tensor (1, 3, height, width) from 0 (far) to 1 (near), the input of
    Kandinsky's ControlNet."""
    found = _spread(_fitted(image, context), 0, 100)
    return found.expand(1, 3, *found.shape).to(dtype)


@task(models=_estimator)
def zoe_depth(image: Image.Image, model_name: str = ZOE, *, context: TaskContext) -> Image.Image:
    """A metric depth map, scaled from its 2nd to its 85th percentile; white is near."""
    return _image(1 - _spread(_fitted(image, context), 2, 85))


def _estimated(image: Image.Image, context: TaskContext) -> torch.Tensor:
    """The model's output (height, width), of a size that the model chooses."""
    inputs = context.models["processor"](images=rgb(image), return_tensors="pt")
    pixels = context.on_device(inputs["pixel_values"])
    [found] = context.models["model"](pixel_values=pixels).predicted_depth
    return found.float().cpu()  # type: ignore[no-any-return]


def _fitted(image: Image.Image, context: TaskContext) -> torch.Tensor:
    """The estimate in the image's size."""
    found = _estimated(image, context)[None, None]
    size = (image.height, image.width)
    resized = torch.nn.functional.interpolate(found, size, mode="bicubic", align_corners=False)
    fitted: torch.Tensor = resized[0, 0]
    return fitted


def _spread(values: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Scale to 0 at the lower percentile and 1 at the upper one."""
    bottom, top = np.percentile(values.numpy(), [low, high])
    spread: torch.Tensor = ((values - bottom) / max(top - bottom, 1e-6)).clamp(0, 1)
    return spread


def _image(values: torch.Tensor) -> Image.Image:
    grey = (values * 255).round().to(torch.uint8).numpy()
    return Image.fromarray(grey).convert("RGB")

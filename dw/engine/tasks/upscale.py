"""Upscalers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path, PurePath
from typing import Any, Literal
from zipfile import ZipFile, is_zipfile

import torch
from PIL import Image

from dw.engine.media.image import as_image, as_pixels, rgb
from dw.engine.patches.progress_bars import counting
from dw.engine.tasks.arguments import Count, Positive
from dw.engine.tasks.parts import TaskPart, TaskParts
from dw.engine.tasks.registry import TaskContext, task
from dw.errors import RunFailed
from dw.extras import needing
from dw.workflow.format.pipeline import Pipeline


class Upscaler(torch.nn.Module):
    """A model of spandrel: images (1, 3, h, w) from 0 to 1, enlarged `scale` times."""

    def __init__(self, descriptor: Any) -> None:
        super().__init__()
        self.descriptor = descriptor  # pads images to sizes that the network takes
        self.network = descriptor.model
        self.scale: int = descriptor.scale

    @classmethod
    def from_single_file(cls, path: str, **_: Any) -> Upscaler:
        """Any architecture that spandrel detects from its weights: ESRGAN, SwinIR, DAT, ..."""
        _refuse_program(Path(path))
        with needing("spandrel"):
            from spandrel import ImageModelDescriptor, ModelLoader
        found = ModelLoader(device="cpu").load_from_file(path)
        if not isinstance(found, ImageModelDescriptor) or found.input_channels != 3:
            raise RunFailed(f"{Path(path).name} is not an image-to-image model")
        return cls(found)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        larger: torch.Tensor = self.descriptor(pixels)
        return larger


def _refuse_program(file: Path) -> None:
    """Raises RunFailed for a TorchScript archive: it holds code, which spandrel would run."""
    if is_zipfile(file):
        with ZipFile(file) as archive:
            is_program = any(PurePath(n).name == "constants.pkl" for n in archive.namelist())
        if is_program:
            raise RunFailed(
                f"{file.name} is a TorchScript program, not weights",
                hints=["its weights can be saved as safetensors"],
            )


def _upscaler(arguments: Mapping[str, Any]) -> TaskParts:
    from dw.rehearsal.task_stand_ins import Enlarger

    name, file = arguments["model_name"], arguments["filename"]
    return {"model": TaskPart(Upscaler, name, Enlarger, files=(file,))}


@task(models=_upscaler)
def upscale(
    image: Image.Image,
    model_name: str,
    filename: str | None = None,
    tile_size: Positive = 512,
    tile_overlap: Count = 32,
    *,
    context: TaskContext,
) -> Image.Image:
    """The image enlarged by the factor of the model: the file `filename` of the hub id
    `model_name`, or a file. Tiles of `tile_size` pixels are blended over `tile_overlap` of them."""
    pixels = context.on_device(as_pixels(rgb(image)))
    larger = in_tiles(context.models["model"], pixels, tile_size, tile_overlap)
    return as_image(larger[0])


def in_tiles(model: Any, pixels: torch.Tensor, size: int, overlap: int) -> torch.Tensor:
    """The output (1, 3, scale * h, scale * w) of an upscaler in host memory, made tile by tile."""
    if overlap * 2 > size:
        raise RunFailed(f"tiles of {size} pixels cannot overlap by {overlap}: at most half")
    _, channels, height, width = pixels.shape
    scale = model.scale
    total = torch.zeros(1, channels, height * scale, width * scale)
    weight = torch.zeros(1, 1, height * scale, width * scale)
    tiles = [(y, x) for y in _starts(height, size, overlap) for x in _starts(width, size, overlap)]
    for y, x in counting(tiles, "tile"):
        tile = model(pixels[..., y : y + size, x : x + size]).float().cpu()
        h, w = tile.shape[2:]
        mask = _ramp(h, overlap * scale)[:, None] * _ramp(w, overlap * scale)
        there = (..., slice(y * scale, y * scale + h), slice(x * scale, x * scale + w))
        total[there] += tile * mask
        weight[there] += mask
    return total / weight


def _starts(length: int, size: int, overlap: int) -> list[int]:
    """The starts of the tiles along one side. The last tile ends with the image."""
    if length <= size:
        return [0]
    return [*range(0, length - size, size - overlap), length - size]


def _ramp(length: int, overlap: int) -> torch.Tensor:
    """The weight of each pixel of a tile: lower towards its ends, but never 0."""
    steps = torch.arange(1, length + 1, dtype=torch.float32)
    return torch.minimum(steps, steps.flip(0)).clamp(max=overlap + 1)


X4 = "stabilityai/stable-diffusion-x4-upscaler"
X2 = "stabilityai/sd-x2-latent-upscaler"


@cache
def _pipeline(mode: str, model_name: str | None, device: str | None) -> Pipeline:
    """The pipeline as a workflow would define it: it is planned, loaded and cached like others."""
    classes = {"x4": "StableDiffusionUpscalePipeline", "x2": "StableDiffusionLatentUpscalePipeline"}
    default = X4 if mode == "x4" else X2
    return Pipeline.model_validate(
        {
            "configuration": {"component_type": classes[mode], "device": device},
            "from_pretrained_arguments": {"model_name": model_name or default},
            "arguments": {},
        }
    )


@task(models=lambda it: _pipeline(it["mode"], it["model_name"], it.get("device")))
def diffusion_upscale(
    image: Image.Image,
    mode: Literal["x4", "x2"] = "x4",
    prompt: str = "",
    negative_prompt: str | None = None,
    model_name: str | None = None,
    num_inference_steps: Positive = 25,
    guidance_scale: float = 9.0,
    noise_level: Count = 20,
    *,
    context: TaskContext,
) -> Image.Image:
    """The image enlarged four times or twice by Stable Diffusion's upscalers, which add details by
    the prompt. A higher `noise_level` lets `x4` change more; `x2` has none."""
    extra = {"noise_level": noise_level} if mode == "x4" else {}
    made = context.models["pipeline"](
        prompt=prompt,
        image=rgb(image),
        negative_prompt=negative_prompt,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        generator=context.generator,
        **extra,
    )
    return made.images[0]  # type: ignore[no-any-return]

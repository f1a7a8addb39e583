"""Commands that cut pictures into their parts: masks, classes and backgrounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image

from dw.engine.models.task_models import TaskPart, TaskParts
from dw.engine.tasks.arguments import Share
from dw.engine.tasks.palette import ADE20K
from dw.engine.tasks.registry import TaskContext, task

DETECTOR = "IDEA-Research/grounding-dino-tiny"
SEGMENTER = "facebook/sam2.1-hiera-small"
SCENES = "openmmlab/upernet-convnext-small"
CUTTER = "briaai/RMBG-2.0"

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's channels, which SAM 2 and RMBG take pictures relative to."""


def _finders(arguments: Mapping[str, Any]) -> TaskParts:
    from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor, Sam2Model

    name = arguments["model_name"]
    return {
        "detector": TaskPart(AutoModelForZeroShotObjectDetection, name, "grounding"),
        "processor": TaskPart(AutoProcessor, name, "grounding", has_weights=False),
        "segmenter": TaskPart(Sam2Model, arguments["sam_model_name"], "sam2"),
    }


@task(models=_finders)
def segment(
    image: Image.Image,
    prompt: str,
    model_name: str = DETECTOR,
    sam_model_name: str = SEGMENTER,
    threshold: Share = 0.3,
    invert: bool = False,
    *,
    context: TaskContext,
) -> Image.Image:
    """A mask, white where the prompt's things are: `a cat. a hat.` Grounding DINO finds those that
    it is surer of than `threshold`, and SAM 2 their outlines. Nothing found is a black mask."""
    rgb = image.convert("RGB")
    boxes = _boxes(rgb, prompt, threshold, context)
    found = torch.zeros(rgb.height, rgb.width, dtype=torch.bool)
    if len(boxes):
        found = _outlines(rgb, boxes, context)
    return Image.fromarray(((found ^ invert).numpy() * 255).astype(np.uint8))


def _boxes(image: Image.Image, prompt: str, threshold: float, context: TaskContext) -> torch.Tensor:
    """Corners (things, 4) in pixels: left, top, right, bottom."""
    processor = context.models["processor"]
    text = prompt.lower().strip().rstrip(".") + "."  # what Grounding DINO was trained on
    inputs = context.on_device(processor(images=image, text=text, return_tensors="pt"))
    [found] = processor.post_process_grounded_object_detection(
        context.models["detector"](**inputs),
        inputs["input_ids"],
        threshold=threshold,
        text_threshold=threshold,
        target_sizes=[(image.height, image.width)],
    )
    return found["boxes"].float().cpu()  # type: ignore[no-any-return]


def _outlines(image: Image.Image, boxes: torch.Tensor, context: TaskContext) -> torch.Tensor:
    """Where one of the boxes has its thing (height, width). SAM 2's own processor does the same,
    but needs torchvision."""
    model = context.models["segmenter"]
    side = model.config.prompt_encoder_config.image_size  # what the boxes are relative to
    scale = torch.tensor([side / image.width, side / image.height] * 2)
    masks = model(
        pixel_values=context.on_device(_pixels(image, side)),
        input_boxes=context.on_device((boxes * scale)[None]),
        multimask_output=False,
    ).pred_masks[0]  # (things, 1, h, w)
    size = (image.height, image.width)
    full = torch.nn.functional.interpolate(masks.float(), size, mode="bilinear")
    return (full > 0).any(dim=0)[0].cpu()


def _cutter(arguments: Mapping[str, Any]) -> TaskParts:
    from transformers import AutoModelForImageSegmentation

    from dw.rehearsal.tasks import Cutter

    return {
        "model": TaskPart(
            AutoModelForImageSegmentation,
            arguments["model_name"],
            Cutter,
            remote_code=True,
            options=(("trust_remote_code", True),),
        )
    }


@task(models=_cutter)
def remove_background(
    image: Image.Image, model_name: str = CUTTER, *, context: TaskContext
) -> Image.Image:
    """The picture with an alpha channel that hides its background. The model's code comes with it
    from the hub, so that it needs your trust."""
    pixels = context.on_device(_pixels(image.convert("RGB"), 1024))
    logits = context.models["model"](pixels)[-1]  # (1, 1, 1024, 1024)
    mask = _grey(logits.sigmoid()[0, 0]).resize(image.size, Image.Resampling.BILINEAR)
    cut = image.convert("RGB")
    cut.putalpha(mask)
    return cut


def _classifier(arguments: Mapping[str, Any]) -> TaskParts:
    from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation

    name = arguments["model_name"]
    return {
        "model": TaskPart(AutoModelForSemanticSegmentation, name, "segmentation"),
        "processor": TaskPart(AutoImageProcessor, name, "segmentation", has_weights=False),
    }


@task(models=_classifier)
def segmentation(
    image: Image.Image, model_name: str = SCENES, *, context: TaskContext
) -> Image.Image:
    """Each pixel in the colour of its ADE20K class, as segmentation ControlNets were trained on."""
    processor = context.models["processor"]
    inputs = processor(images=image.convert("RGB"), return_tensors="pt")
    output = context.models["model"](pixel_values=context.on_device(inputs["pixel_values"]))
    sizes = [(image.height, image.width)]
    [classes] = processor.post_process_semantic_segmentation(output, target_sizes=sizes)
    return Image.fromarray(ADE20K[classes.cpu().numpy() % len(ADE20K)])


def _pixels(image: Image.Image, side: int) -> torch.Tensor:
    """The picture squeezed into a square (1, 3, side, side), relative to ImageNet's colours."""
    squeezed = image.resize((side, side), Image.Resampling.BILINEAR)
    colours = torch.from_numpy(np.asarray(squeezed, dtype=np.float32) / 255)
    relative = (colours - torch.tensor(MEAN)) / torch.tensor(DEVIATION)
    return relative.permute(2, 0, 1)[None]


def _grey(values: torch.Tensor) -> Image.Image:
    return Image.fromarray((values.float().cpu() * 255).round().to(torch.uint8).numpy())

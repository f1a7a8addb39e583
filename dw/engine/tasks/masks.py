"""Segmentation: masks of objects, classes of pixels, and backgrounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image

from dw.engine.media.image import rgb
from dw.engine.tasks.arguments import Share
from dw.engine.tasks.parts import TaskPart, TaskParts
from dw.engine.tasks.registry import TaskContext, task

DETECTOR = "IDEA-Research/grounding-dino-tiny"
SEGMENTER = "facebook/sam2.1-hiera-small"
SCENES = "openmmlab/upernet-convnext-small"
CUTTER = "briaai/RMBG-2.0"

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's channels, by which SAM 2 and RMBG normalize images."""

_HEX = """
787878 b47878 06e6e6 503232 04c803 787850 8c8c8c cc05ff e6e6e6 04fa07 e005ff ebff07 96053d
787846 08ff33 ff0652 8fff8c ccff04 ff3307 cc4603 0066c8 3de6fa ff0633 0b66ff ff0747 ff09e0
0907e6 dcdcdc ff095c 7009ff 08ffd6 07ffe0 ffb806 0aff47 ff290a 07ffff e0ff08 6608ff ff3d06
ffc207 ff7a08 00ff14 ff0829 ff0599 0633ff eb0cff a09614 00a3ff 8c8c8c fa0a0f 14ff00 1fff00
ff1f00 ffe000 99ff00 0000ff ff4700 00ebff 00adff 1f00ff 0bc8c8 ff5200 00fff5 003dff 00ff70
00ff85 ff0000 ffa300 ff6600 c2ff00 008fff 33ff00 0052ff 00ff29 00ffad 0a00ff adff00 00ff99
ff5c00 ff00ff ff00f5 ff0066 ffad00 ff0014 ffb8b8 001fff 00ff3d 0047ff ff00cc 00ffc2 00ff52
000aff 0070ff 3300ff 00c2ff 007aff 00ffa3 ff9900 00ff0a ff7000 8fff00 5200ff a3ff00 ffeb00
08b8aa 8500ff 00ff5c b800ff ff001f 00b8ff 00d6ff ff0070 5cff00 00e0ff 70e0ff 46b8a0 a300ff
9900ff 47ff00 ff00a3 ffcc00 ff008f 00ffeb 85ff00 ff00eb f500ff ff007a fff500 0abed4 d6ff00
00ccff 1400ff ffff00 0099ff 0029ff 00ffcc 2900ff 29ff00 ad00ff 00f5ff 4700ff 7a00ff 00ffb8
005cff b8ff00 0085ff ffd600 19c2c2 66ff00 5c00ff
"""

ADE20K = np.array([list(bytes.fromhex(colour)) for colour in _HEX.split()], dtype=np.uint8)
"""Red, green and blue (150, 3) of ADE20K's classes, in their order (wall, building, sky, ...).

They are those that the MIT Scene Parsing Benchmark publishes with the data set; segmentation
ControlNets were trained on them.
"""


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
    """A mask, white where the objects of the prompt are: `a cat. a hat.` Grounding DINO finds those
    with a score above `threshold`, and SAM 2 their outlines. The mask is black if none is found."""
    colours = rgb(image)
    boxes = _boxes(colours, prompt, threshold, context)
    found = torch.zeros(colours.height, colours.width, dtype=torch.bool)
    if len(boxes):
        found = _outlines(colours, boxes, context)
    return Image.fromarray(((found ^ invert).numpy() * 255).astype(np.uint8))


def _boxes(image: Image.Image, prompt: str, threshold: float, context: TaskContext) -> torch.Tensor:
    """Boxes (objects, 4) in pixels: left, top, right, bottom."""
    processor = context.models["processor"]
    text = prompt.lower().strip().rstrip(".") + "."  # the form that Grounding DINO was trained on
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
    """A mask (height, width) of the objects in the boxes. SAM 2's own processor does the same, but
    needs torchvision."""
    model = context.models["segmenter"]
    side = model.config.prompt_encoder_config.image_size  # the boxes are relative to it
    scale = torch.tensor([side / image.width, side / image.height] * 2)
    masks = model(
        pixel_values=context.on_device(_pixels(image, side)),
        input_boxes=context.on_device((boxes * scale)[None]),
        multimask_output=False,
    ).pred_masks[0]  # (objects, 1, h, w)
    size = (image.height, image.width)
    full = torch.nn.functional.interpolate(masks.float(), size, mode="bilinear")
    return (full > 0).any(dim=0)[0].cpu()


def _cutter(arguments: Mapping[str, Any]) -> TaskParts:
    from transformers import AutoModelForImageSegmentation

    from dw.rehearsal.task_stand_ins import Cutter

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
    """The image with an alpha channel that hides its background. The model's code is downloaded
    from the hub with it, so the workflow must be trusted."""
    pixels = context.on_device(_pixels(rgb(image), 1024))
    logits = context.models["model"](pixels)[-1]  # (1, 1, 1024, 1024)
    opacity = (logits.sigmoid()[0, 0].float().cpu() * 255).round().to(torch.uint8)
    mask = Image.fromarray(opacity.numpy()).resize(image.size, Image.Resampling.BILINEAR)
    cut = rgb(image)
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
    """Each pixel in the colour of its ADE20K class, the input of segmentation ControlNets."""
    processor = context.models["processor"]
    inputs = processor(images=rgb(image), return_tensors="pt")
    output = context.models["model"](pixel_values=context.on_device(inputs["pixel_values"]))
    sizes = [(image.height, image.width)]
    [classes] = processor.post_process_semantic_segmentation(output, target_sizes=sizes)
    return Image.fromarray(ADE20K[classes.cpu().numpy() % len(ADE20K)])


def _pixels(image: Image.Image, side: int) -> torch.Tensor:
    """The image resized to a square (1, 3, side, side), normalized by ImageNet's channels."""
    squeezed = image.resize((side, side), Image.Resampling.BILINEAR)
    colours = torch.from_numpy(np.asarray(squeezed, dtype=np.float32) / 255)
    relative = (colours - torch.tensor(MEAN)) / torch.tensor(DEVIATION)
    return relative.permute(2, 0, 1)[None]

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from PIL import Image

from dw.engine.models.assembly import assemble
from dw.engine.models.spec import PipelineSpec, Placement, PlacementPlan, SchedulerSpec

CALL = {"prompt": "a cat", "num_inference_steps": 3}


@pytest.fixture
def original(sd15: Path) -> StableDiffusionPipeline:
    return StableDiffusionPipeline.from_pretrained(sd15)


def rewired(original: Any, cls: Any, offload: Any = None) -> Any:
    parts = dict(original.components)
    scheduler = parts.pop("scheduler")
    layout = PlacementPlan(Placement("cpu", offload))  # accelerate's hooks work on the CPU, too
    schedulers = {"scheduler": SchedulerSpec(type(scheduler), dict(scheduler.config))}
    spec = PipelineSpec(cls, {}, schedulers, {"requires_safety_checker": False}, layout)
    return assemble(spec, parts, spec.schedulers, spec.scalars)


def draw(pipeline: Any, **arguments: Any) -> Any:
    generator = torch.Generator().manual_seed(1)
    image = pipeline(**CALL, generator=generator, **arguments).images[0]
    return np.asarray(image)


def test_each_wiring_has_a_scheduler_of_its_own(original: StableDiffusionPipeline) -> None:
    first = rewired(original, StableDiffusionPipeline)
    second = rewired(original, StableDiffusionPipeline)
    assert first.scheduler is not second.scheduler
    assert first.unet is second.unet


def test_offloaded_pipelines_take_the_hooks_from_each_other(
    original: StableDiffusionPipeline,
) -> None:
    size = {"width": 64, "height": 64}
    image = Image.new("RGB", (64, 64), "orange")
    plain = draw(original, **size)
    for _ in range(2):
        text = rewired(original, StableDiffusionPipeline, "model")
        assert np.array_equal(draw(text, **size), plain)
        draw(rewired(original, StableDiffusionImg2ImgPipeline, "model"), image=image)

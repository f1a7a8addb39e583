from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ModularPipeline, StableDiffusionPipeline

from dw.engine import Cancelled, RunControl
from dw.engine.calls.watching import watching

CALL = {"prompt": "a cat", "num_inference_steps": 2, "width": 64, "height": 64}


@pytest.fixture(scope="module")
def pipeline(sd15: Path) -> StableDiffusionPipeline:
    return StableDiffusionPipeline.from_pretrained(sd15)


def test_a_cancel_may_come_from_any_thread() -> None:
    control = RunControl()
    control.stepped(2, 8)
    thread = threading.Thread(target=control.cancel)
    thread.start()
    thread.join()
    with pytest.raises(Cancelled) as caught:
        control.check()
    assert (caught.value.step, caught.value.steps) == (2, 8)


def test_it_is_no_exception_that_a_pipeline_would_catch() -> None:
    assert not issubclass(Cancelled, Exception)


@pytest.fixture(scope="module")
def modular(flux: Path) -> ModularPipeline:
    pipeline = ModularPipeline.from_pretrained(str(flux))
    pipeline.load_components(dtype=torch.float32)
    return pipeline


@pytest.mark.parametrize("where", ["text_encoder_2", "transformer", "vae.decoder"])
def test_so_is_each_of_a_modular_pipeline(modular: ModularPipeline, where: str) -> None:
    test_each_component_is_a_place_to_stop(modular, where)


@pytest.mark.parametrize("where", ["text_encoder", "unet", "vae.decoder"])
def test_each_component_is_a_place_to_stop(pipeline: Any, where: str) -> None:
    control, module = RunControl(), pipeline
    for name in where.split("."):
        module = getattr(module, name)
    handle = module.register_forward_pre_hook(lambda *_: control.cancel())  # just before ours
    try:
        with watching(pipeline, control), pytest.raises(Cancelled):
            pipeline(**CALL)
    finally:
        handle.remove()


def test_the_hooks_are_gone_afterwards(pipeline: StableDiffusionPipeline) -> None:
    def hooks() -> int:
        modules = (
            m
            for c in pipeline.components.values()
            if isinstance(c, torch.nn.Module)
            for m in c.modules()
        )
        return sum(len(m._forward_pre_hooks) for m in modules)

    before = hooks()
    with watching(pipeline, RunControl()):
        assert hooks() > before + 5  # three models, the VAE's two nets, and their blocks
        pipeline(**CALL)
    assert hooks() == before

"""Previews: small images of what is denoised, which cost next to nothing and change nothing."""

from __future__ import annotations

import io
from base64 import b64decode
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2Pipeline,
    FluxPipeline,
    LTXPipeline,
    QwenImageLayeredPipeline,
    QwenImagePipeline,
)
from PIL import Image

from dw.engine.calls import latent_formats, previews
from dw.engine.calls.latent_formats import FORMATS, latent_format
from dw.engine.calls.previews import Previews, _denoised, _packing, _Shape
from dw.events import Preview, Stepped
from dw.rehearsal import stand_in
from tests.engine.session import CancelsAt, Json, Session, text_to_image

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SHAPES: Json = {
    "arguments": {"prompt": "a red circle on blue", "width": 128, "height": 128}
    | {"num_inference_steps": 8}
}


def pixels(preview: Preview) -> np.ndarray[Any, Any]:
    """(h, w, 3), from 0 to 255"""
    image = Image.open(io.BytesIO(b64decode(preview.image)))
    assert (image.format, image.size) == ("PNG", (preview.width, preview.height))
    return np.asarray(image, dtype=float)


def test_a_preview_looks_like_the_image(warm: Session) -> None:
    document = text_to_image("builtin:shapes", **SHAPES)
    result = warm.run(document, partial_images=7)
    shown = warm.seen(Preview)
    assert [(each.step, each.steps) for each in shown] == [(step, 8) for step in range(1, 8)]
    assert {each.name for each in shown} == {"gen"}
    image = Image.open(result.outputs[0].path).resize((32, 32), Image.Resampling.BOX)
    errors = [np.abs(pixels(each) - np.asarray(image, dtype=float)).mean() for each in shown]
    assert errors[-1] < 30, "of 255; noise is left"
    assert errors[-1] < errors[0] / 2


def test_they_change_no_byte_and_nobody_gets_them_unasked(
    warm: Session, sd15: Path, flux: Path
) -> None:
    flow = {"configuration": {"component_type": "FluxPipeline"}}
    for document in (text_to_image(sd15), text_to_image(flux, **flow)):
        without = warm.hashes(document)
        assert not warm.seen(Preview)
        assert warm.hashes(document, partial_images=3) == without
        assert len(warm.seen(Preview)) == 3
        assert warm.hashes(document) == without, "nothing is left on the pipeline"
        assert not warm.seen(Preview)


@pytest.mark.parametrize(
    ("kind", "name", "arguments", "frames"),
    [
        ("StableDiffusionXLPipeline", "", {}, 1),
        ("StableDiffusion3Pipeline", "", {}, 1),
        ("QwenImagePipeline", "", {"true_cfg_scale": 1.0}, 1),
        ("WanPipeline", "", {"num_frames": 9}, 3),
    ],
)
def test_models_that_are_known_are_shown(
    warm: Session, kind: str, name: str, arguments: Json, frames: int
) -> None:
    result: Json = {"content_type": "video/mp4"} if frames > 1 else {"content_type": "image/png"}
    document = text_to_image(
        stand_in(kind, name),
        configuration={"component_type": kind},
        arguments={"width": 96, **arguments},
    )
    document["steps"][0]["result"] = result
    warm.run(document, partial_images=1)
    (shown,) = warm.seen(Preview)
    assert (shown.step, shown.width, shown.height) == (2, 12, 8)
    assert (shown.frame, shown.frames) == (1 if frames > 1 else None, frames)
    assert pixels(shown).std() > 1, "not one colour"
    assert not [text for text in warm.warnings if "preview" in text]


def test_a_latent_format_that_is_unknown_is_told_once(
    session: Session, sd15: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latent_formats, "FORMATS", ())
    why = "the colours of its latents (AutoencoderKL) are not known"
    for told in ([f"no previews of StableDiffusionPipeline: {why}"], []):
        session.run(text_to_image(sd15), partial_images=1)
        assert session.warnings == told
        assert not session.seen(Preview)


def test_a_cancel_in_mid_preview_does_no_harm(warm: Session, sd15: Path) -> None:
    document = text_to_image(sd15)
    whole = warm.hashes(document)
    warm.cancel(document, CancelsAt(3), partial_images=3)
    assert [each.step for each in warm.seen(Preview)] == [1, 2, 3], "and none after the end"
    assert warm.hashes(document) == whole


def test_where_no_memory_is_left_the_run_goes_on_without(
    warm: Session, sd15: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(previews, "_denoised", full)
    warm.run(text_to_image(sd15), partial_images=3)
    assert not warm.seen(Preview)
    assert warm.seen(Stepped)[-1].done == 4


# ------------------------------------------------------------------ how often


def made_at(*ends_s: float, every_s: float | None = 1.0, cost_s: float = 0.0) -> list[float]:
    """When previews are made, of a run whose steps end at these times."""
    now = 0.0
    shown = Previews(every_s, 0, lambda _: None, clock=lambda: now)
    made = []
    for end_s in ends_s:
        step_s, now = end_s - now, end_s
        if shown.is_due(1, 100, step_s):
            shown.made(cost_s)
            made.append(end_s)
    return made


def test_at_most_one_is_made_in_a_second() -> None:
    assert made_at(*(tenth / 10 for tenth in range(1, 31))) == [1.0, 2.0, 3.0]
    assert made_at(5.0, 10.0, 15.0) == [5.0, 10.0, 15.0]
    assert made_at(*range(1, 8), every_s=2.5) == [3, 6]
    assert made_at(*range(1, 8), every_s=None) == []


def test_steps_that_are_too_fast_for_their_cost_have_none() -> None:
    fast = [0.01 * n for n in range(1, 500)]
    assert made_at(*fast) == [], "a hundredth of a step is 0.1 ms"
    slow = [0.1 * n for n in range(1, 100)]
    assert len(made_at(*slow, cost_s=0.0009)) == 9
    assert len(made_at(*slow, cost_s=0.0011)) == 2, "then the cost is known"


def test_partial_images_lie_at_even_places() -> None:
    shown = Previews(None, 3, lambda _: None)
    assert [step for step in range(1, 21) if shown.is_due(step, 20, 1e-6)] == [5, 10, 15]
    assert [step for step in range(1, 3) if shown.is_due(step, 2, 1e-6)] == [1]


# ------------------------------------------------------------------ which pixels


@pytest.mark.parametrize(
    ("pack", "shape", "call"),
    [
        (FluxPipeline, (16, 8, 12), (1, 16, 8, 12)),
        (QwenImagePipeline, (16, 8, 12), (1, 16, 8, 12)),
        (QwenImageLayeredPipeline, (4, 16, 8, 12), (1, 16, 8, 12, 4)),
        (LTXPipeline, (128, 5, 8, 12), ()),
        (LTXPipeline, (32, 5, 8, 12), (2, 1)),
        (Flux2Pipeline, (128, 4, 6), ()),
    ],
)
def test_packed_latents_are_unpacked(
    pack: Any, shape: tuple[int, ...], call: tuple[int, ...]
) -> None:
    """By what the pipeline itself packs: the frame in the middle of what it was given."""
    latents = torch.randn(1, *shape)
    pipeline = SimpleNamespace(_pack_latents=pack._pack_latents)
    with _packing(pipeline) as packed:
        other = pipeline._pack_latents(torch.randn(1, *shape[:-1], 24), *_wider(call))
        tokens = pipeline._pack_latents(latents, *call)
    assert tokens.shape[1] != other.shape[1]
    channels = 16 if len(call) >= 4 else shape[0]
    found = _Shape.of(tokens, channels, packed)
    assert found is not None
    middle = {3: latents[0], 4: latents[0, 2] if len(call) == 5 else latents[0, :, 2]}[len(shape)]
    assert torch.equal(found.grid(tokens), middle)


def _wider(call: tuple[int, ...]) -> tuple[int, ...]:
    return (*call[:3], 24, *call[4:]) if len(call) >= 4 else call


def test_latents_of_another_shape_are_not_guessed() -> None:
    assert _Shape.of(torch.zeros(1, 24, 64), 16, []) is None, "packed unseen"
    assert _Shape.of(torch.zeros(1, 8, 4, 4), 16, []) is None
    assert _Shape.of(torch.zeros(16, 4), 16, []) is None


def test_frames_may_come_before_channels() -> None:
    latents = torch.randn(1, 5, 4, 2, 3)  # as Stable Video Diffusion has them
    found = _Shape.of(latents, 4, [])
    assert found is not None
    assert torch.equal(found.grid(latents), latents[0, 2])


@pytest.mark.parametrize(
    "scheduler",
    [FlowMatchEulerDiscreteScheduler(shift=3.0), EulerDiscreteScheduler()],
    ids=lambda each: type(each).__name__,
)
def test_a_step_of_eulers_method_tells_the_image(scheduler: Any) -> None:
    torch.manual_seed(0)
    scheduler.set_timesteps(5)
    image, noise = torch.randn(4, 8, 8), torch.randn(4, 8, 8)
    sigma = scheduler.sigmas[0]
    is_flow = isinstance(scheduler, FlowMatchEulerDiscreteScheduler)
    before = (1 - sigma) * image + sigma * noise if is_flow else image + sigma * noise
    guess = noise - image if is_flow else noise
    scheduler.scale_model_input(before, scheduler.timesteps[0]) if not is_flow else None
    after = scheduler.step(guess, scheduler.timesteps[0], before).prev_sample
    assert (after - image).abs().max() > 0.1
    assert torch.allclose(_denoised(after, before, scheduler), image, atol=1e-4)


def test_other_schedulers_latents_are_brought_to_their_scale() -> None:
    scheduler = EulerAncestralDiscreteScheduler()
    scheduler.set_timesteps(5)
    image = torch.ones(4, 8, 8)
    scheduler.scale_model_input(image, scheduler.timesteps[0])
    after = scheduler.step(torch.zeros(4, 8, 8), scheduler.timesteps[0], image).prev_sample
    sigma = float(scheduler.sigmas[1])
    assert torch.allclose(_denoised(after, None, scheduler), after / (sigma**2 + 1) ** 0.5)
    plain = DDIMScheduler()
    assert _denoised(after, None, plain) is after


def test_a_preview_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    known = FORMATS[0]
    shower: Any = SimpleNamespace(previews=Previews(1.0, 0, lambda _: None))
    denoising = previews._Denoising(shower, known, [])
    rgb = denoising._rgb(torch.zeros(4, 300, 700))
    assert rgb.shape == (100, 234, 3)
    assert rgb.dtype == torch.uint8
    wanted = torch.tensor([(bias + 1) * 127.5 for bias in known.bias]).to(torch.uint8)
    assert torch.equal(rgb[0, 0], wanted), "latents of zero have the colours of the bias"


def test_each_format_has_three_colours_for_each_channel() -> None:
    counts = [len(known.factors) for known in FORMATS]
    assert counts == [4, 4, 16, 16, 32, 16, 48, 4]
    assert [known.channels for known in FORMATS if known.patch > 1] == [128]
    vae = SimpleNamespace(config={"latent_channels": 4, "scaling_factor": 0.5})
    assert latent_format(vae) is None

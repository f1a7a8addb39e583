"""Values that are not finite: told where they arise, and no result unless the step allows it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file, save_file

from dw.engine.calls.finite import FiniteWatch, spoiled
from dw.engine.cancellation import RunControl
from dw.engine.media.audio import Audio
from dw.engine.media.video import Video
from dw.events import NotFinite
from dw.types import Spoiled
from tests.engine.session import Json, Session, merged, text_to_image, workflow

NAN, INF = float("nan"), float("inf")
DDIM: Json = {"scheduler": {"configuration": {"scheduler_type": "DDIMScheduler"}}}


@pytest.fixture
def broken(sd15: Path, tmp_path: Path) -> Callable[..., Path]:
    """A model with one weight of a component replaced."""

    def make(component: str, key: str, value: float = NAN, model: Path = sd15) -> Path:
        copy = tmp_path / f"{component}-{value}"
        shutil.copytree(model, copy)
        [file] = (copy / component).glob("*.safetensors")
        weights = load_file(file)
        weights[key] = torch.full_like(weights[key], value)
        save_file(weights, file, metadata={"format": "pt"})
        return copy

    return make


@pytest.fixture
def open_session(session: Session, tmp_path: Path) -> Session:
    session.allowed = (*session.allowed, tmp_path)
    return session


def record(session: Session) -> Json:
    [path] = sorted(session.folder.glob("outputs/*/*/run.json"))[-1:]
    return json.loads(path.read_text())  # type: ignore[no-any-return]


def allowed(document: Json) -> Json:
    step = {**document["steps"][0], "allow_nan": True}
    return {**document, "steps": [step]}


def spoiling(monkeypatch: pytest.MonkeyPatch, at: int, sample: int | None = None) -> None:
    """A scheduler that gives NaN in one of its steps, in one sample or all."""
    original, calls = DDIMScheduler.step, []

    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        latents, *rest = original(self, *args, **kwargs)
        calls.append(1)
        if len(calls) == at:
            latents[slice(None) if sample is None else sample, 0, 0, 0] = NAN
        return (latents, *rest)

    monkeypatch.setattr(DDIMScheduler, "step", step)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_decoder_s_output_is_told_and_not_saved(
    open_session: Session, broken: Callable[..., Path], value: float
) -> None:
    model = broken("vae", "decoder.conv_out.bias", value)
    failure = open_session.fail(text_to_image(model))
    assert str(failure) == "step 'gen', decode: NaN or infinity in the output of 'vae'"
    assert failure.exit_code == 1
    assert failure.hints == (
        "the weights of 'vae' are not finite themselves: load it from another file",
        '"allow_nan": true in the step keeps such a result',
    )
    [event] = open_session.seen(NotFinite)
    assert (event.name, event.value, event.is_allowed) == (
        "gen",
        Spoiled("the output of 'vae'", "vae"),
        False,
    )
    facts = record(open_session)
    assert (facts["state"], facts["outputs"]) == ("failed", [])
    assert facts["not_finite"][0]["what"] == "the output of 'vae'"
    assert not list(open_session.folder.glob("outputs/**/*.png"))


def test_it_is_kept_where_the_step_allows_it(
    open_session: Session, broken: Callable[..., Path]
) -> None:
    document = allowed(text_to_image(broken("vae", "decoder.conv_out.bias")))
    with pytest.warns(RuntimeWarning, match="invalid value"):
        result = open_session.run(document)
    assert not np.asarray(Image.open(result.outputs[0].path)).any()
    assert [event.is_allowed for event in open_session.seen(NotFinite)] == [True]
    facts = record(open_session)
    assert (facts["state"], facts["not_finite"][0]["is_allowed"]) == ("finished", True)


def test_the_next_run_draws_as_before_on_models_that_stay(
    open_session: Session, sd15: Path, broken: Callable[..., Path]
) -> None:
    before = open_session.hashes(text_to_image(sd15))
    open_session.fail(text_to_image(broken("vae", "decoder.conv_out.bias")))
    assert open_session.hashes(text_to_image(sd15)) == before
    open_session.fail(text_to_image(broken("unet", "conv_out.bias")))
    assert open_session.hashes(text_to_image(sd15)) == before


@pytest.mark.parametrize("at", [1, 3])
def test_the_step_of_the_denoising_is_told(
    warm: Session, sd15: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    spoiling(monkeypatch, at)
    failure = warm.fail(text_to_image(sd15, **DDIM))
    assert failure.message == f"NaN or infinity in the latents, denoising step {at} of 4"
    assert record(warm)["not_finite"][0]["step"] == at


def test_the_sample_of_a_batch_is_told(
    warm: Session, sd15: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoiling(monkeypatch, 2, sample=1)
    three = {"arguments": {"num_images_per_prompt": 3}}
    failure = warm.fail(text_to_image(sd15, **merged(DDIM, three)))
    assert failure.message == (
        "NaN or infinity in the latents, denoising step 2 of 4, number 2 of 3"
    )


def test_a_long_denoising_ends_when_it_is_seen(
    warm: Session, sd15: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dw.engine.calls.finite.INTERVAL_S", 0)
    spoiling(monkeypatch, 2)
    failure = warm.fail(text_to_image(sd15, **DDIM))
    assert failure.where == "step 'gen', denoise"
    assert "denoising step 2 of 4" in failure.message


def test_the_encoder_that_began_it_is_named(
    open_session: Session, broken: Callable[..., Path]
) -> None:
    model = broken("text_encoder", "final_layer_norm.bias")
    failure = open_session.fail(text_to_image(model))
    assert failure.message == "NaN or infinity in the output of 'text_encoder'"


def test_an_encoder_alone_spoils_nothing() -> None:
    told: list[Spoiled] = []
    watch = FiniteWatch(RunControl(), told.append)
    watch.saw(Spoiled("the encoder"), (torch.full((1, 2), NAN),), is_sure=False)
    watch.read()
    assert told == []
    watch.saw(Spoiled("the latents"), (torch.full((1, 2), NAN),))
    watch.saw(Spoiled("the latents"), (torch.full((1, 2), NAN),))
    watch.read()
    assert told == [Spoiled("the encoder")], "once in a call"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_large_finite_values_are_finite(dtype: torch.dtype) -> None:
    told: list[Spoiled] = []
    watch = FiniteWatch(RunControl(), told.append)
    watch.saw(Spoiled("the latents"), torch.full((2, 4, 64, 64), 60_000.0, dtype=dtype))
    watch.saw(Spoiled("the latents"), torch.empty(0, 4))
    watch.saw(Spoiled("the latents"), torch.ones(2, 4, dtype=torch.long))
    watch.read()
    assert told == []


@pytest.mark.parametrize("component", ["vae", "unet"])
def test_float16_has_its_remedy(
    open_session: Session, sd15: Path, monkeypatch: pytest.MonkeyPatch, component: str
) -> None:
    """The overflow, not the weights: a network whose values grow beyond 65,504."""
    cls = {"vae": "AutoencoderKL", "unet": "UNet2DConditionModel"}[component]
    method = {"vae": "decode", "unet": "forward"}[component]
    module = __import__("diffusers").__dict__[cls]
    original = getattr(module, method)

    def overflowing(self: Any, *args: Any, **kwargs: Any) -> Any:
        output = original(self, *args, **kwargs)
        return ((output[0] + 60_000) * 60_000, *output[1:])

    monkeypatch.setattr(module, method, overflowing)
    half = {"from_pretrained_arguments": {"torch_dtype": "torch.float16"}}
    failure = open_session.fail(text_to_image(sd15, **half))
    if component == "unet":
        assert "'unet' is in float16, which overflows" in str(failure.hints[0])
        return
    assert failure.hints[0] == (
        '"torch_dtype": {"default": "torch.float16", "vae": "torch.float32"} '
        "in from_pretrained_arguments loads 'vae' in float32"
    )
    dtypes = json.loads("{" + str(failure.hints[0]).partition(" in from_")[0] + "}")
    assert open_session.run(text_to_image(sd15, from_pretrained_arguments=dtypes)).outputs


def test_a_vae_in_float32_decodes_the_latents_of_a_pipeline_in_float16(
    warm: Session, sd15: Path
) -> None:
    dtypes = {"torch_dtype": {"default": "torch.float16", "vae": "torch.float32"}}
    [output] = warm.run(text_to_image(sd15, from_pretrained_arguments=dtypes)).outputs
    pipeline = StableDiffusionPipeline.from_pretrained(sd15, dtype=torch.float16)
    call = {"prompt": "a cat", "num_inference_steps": 4, "width": 64, "height": 64}
    generator = torch.Generator().manual_seed(7)
    latents = pipeline(**call, generator=generator, output_type="latent").images
    with torch.inference_mode():
        vae = pipeline.vae.float()
        decoded = vae.decode(latents.float() / vae.config.scaling_factor).sample
    [image] = pipeline.image_processor.postprocess(decoded)
    wanted, drawn = np.asarray(image).astype(int), np.asarray(Image.open(output.path)).astype(int)
    assert abs(drawn - wanted).max() <= 1


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_modular_pipelines_are_watched(
    open_session: Session, sdxl: Path, broken: Callable[..., Path]
) -> None:
    model = broken("vae", "decoder.conv_out.bias", model=sdxl)
    modular = {"configuration": {"component_type": "ModularPipeline"}}
    failure = open_session.fail(text_to_image(model, **modular))
    assert failure.message == "NaN or infinity in the output of 'vae'"


def test_a_step_allows_it_for_the_workflow_that_it_runs(
    open_session: Session, broken: Callable[..., Path]
) -> None:
    child = text_to_image(broken("unet", "conv_out.bias"))
    (open_session.folder / "child.json").write_text(json.dumps(child))
    call = {"name": "sub", "workflow": {"path": "child.json"}}
    failure = open_session.fail(workflow(call))
    assert failure.where == "step 'sub.gen', decode"
    with pytest.warns(RuntimeWarning, match="invalid value"):
        open_session.run(workflow({**call, "allow_nan": True}))
    assert [event.name for event in open_session.seen(NotFinite)] == ["sub.gen"]


def test_embeddings_that_are_given_on_are_told(
    open_session: Session, broken: Callable[..., Path], sd15: Path
) -> None:
    latents = text_to_image(broken("unet", "conv_out.bias"), arguments={"output_type": "{latent}"})
    first = {**latents["steps"][0], "name": "first", "allow_nan": True}
    del first["result"]
    second = text_to_image(sd15, arguments={"latents": "previous_result:first.images"})["steps"][0]
    failure = open_session.fail(workflow(first, second))
    assert str(failure).endswith("NaN or infinity in the argument 'latents'")


def test_audio_is_told(warm: Session) -> None:
    soundfile.write(warm.folder / "nan.wav", np.array([0.0, NAN], np.float32), 8000, "FLOAT")
    inputs = [{"media_type": "audio", "location": "nan.wav"}]
    task = {"name": "sound", "task": {"command": "gather_inputs", "inputs": inputs}}
    document = workflow({**task, "result": {"content_type": "audio/wav"}})
    failure = warm.fail(document)
    assert str(failure) == "step 'sound': NaN or infinity in the audio"


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (np.array([1.0, NAN]), "the result"),
        ({"images": np.array([[INF]], np.float32)}, "'images'"),
        ([Image.new("RGB", (2, 2)), {"score": -INF}], "'score'"),
        ({"embeds": [torch.ones(2), torch.tensor([NAN], dtype=torch.bfloat16)]}, "'embeds'"),
        (Video(np.full((1, 2, 2, 3), NAN)), "the frames"),
        (Video([], Audio(np.full((4, 1), NAN, np.float32), 8000)), "the audio"),
        (np.full(10**6, 3e38, np.float64), None),
        ({"a": 1.0, "b": "nan", "c": None, "d": [1, True]}, None),
        (np.array([1, 2], np.uint8), None),
    ],
)
def test_the_part_of_a_result_that_is_not_finite(value: Any, what: str | None) -> None:
    assert spoiled(value) == what

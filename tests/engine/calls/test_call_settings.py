"""Call settings: which module gets which setting, in which layer, and what is told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    FluxTransformer2DModel,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry
from diffusers.models.attention_processor import AttnProcessor, SlicedAttnProcessor
from PIL import Image

from dw.engine.calls.call_settings import setting_changes, slices_attention
from dw.engine.models.model_state import Change, Layer, ModelState, apply, rewind
from dw.engine.patches import progress_bars
from dw.errors import RunFailed
from dw.rehearsal import stand_in
from dw.workflow.format.configuration import Configuration
from tests.engine.session import Session, text_to_image

FREEU = {"s1": 0.6, "s2": 0.4, "b1": 1.1, "b2": 1.2}
ATTENTION = "diffusers.models.attention_processor.AttnProcessor"


def configured(**data: Any) -> Configuration:
    return Configuration.model_validate({"component_type": "x.Y", **data})


@pytest.fixture
def models(stand_ins: None) -> dict[str, Any]:
    sd15, flux = stand_in("StableDiffusionPipeline", ""), stand_in("FluxPipeline", "")
    return {
        "unet": UNet2DConditionModel.from_pretrained(sd15, subfolder="unet"),
        "vae": AutoencoderKL.from_pretrained(sd15, subfolder="vae"),
        "transformer": FluxTransformer2DModel.from_pretrained(flux, subfolder="transformer"),
    }


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setattr(progress_bars, "warn", said.append)
    return said


def described(changes: list[Change]) -> list[tuple[Layer, str, Any, set[str]]]:
    return [(each.layer, each.name, each.value, set(each.models)) for each in changes]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, []),
        ({"unet": {"torch_dtype": "torch.float16"}}, []),
        (
            {"unet": {"channels_last": True, "attn_processor_type": ATTENTION}},
            [
                (Layer.PROCESSOR, "attn_processor_type", ("", ATTENTION), {"unet"}),
                (Layer.SETTING, "channels_last", ("", True), {"unet"}),
            ],
        ),
        (
            {"vae": {"enable_tiling": True, "enable_slicing": True, "channels_last": True}},
            [
                (Layer.SETTING, "enable_slicing", ("", True), {"vae"}),
                (Layer.SETTING, "enable_tiling", ("", True), {"vae"}),
                (Layer.SETTING, "channels_last", ("", True), {"vae"}),
            ],
        ),
        (
            {"components": {"vae": {"enable_tiling": {"use_tiling": True}}}},
            [(Layer.SETTING, "enable_tiling", ("", {"use_tiling": True}), {"vae"})],
        ),
        (
            {"components": {"transformer": {"attention_backend": "_native_math"}}},
            [(Layer.ATTENTION, "attention_backend", ("", "_native_math"), {"transformer"})],
        ),
        (
            {"enable_attention_slicing": True},
            [(Layer.ATTENTION, "attention_slicing", ("", True), {"unet"})],
        ),
        (
            {"freeu": FREEU, "unet": {"channels_last": True}},
            [
                (Layer.SETTING, "freeu", ("", FREEU), {"unet"}),
                (Layer.SETTING, "channels_last", ("", True), {"unet"}),
            ],
        ),
        ({"text_encoder": {}, "components": {"other": {"enable_tiling": True}}}, []),
    ],
)
def test_each_setting_has_its_layer(models: dict[str, Any], data: Any, expected: Any) -> None:
    assert described(list(setting_changes(configured(**data), models))) == expected


def test_a_setting_of_a_module_inside_has_its_path(models: dict[str, Any]) -> None:
    wanted = configured(components={"vae.decoder": {"attention_backend": "native"}})
    assert list(setting_changes(wanted, models)) == []  # and is told: it has none
    with pytest.raises(RunFailed, match=r"AutoencoderKL has no module 'decodr'.*'decoder'"):
        list(
            setting_changes(configured(components={"vae.decodr": {"enable_tiling": True}}), models)
        )


def test_what_a_model_does_not_have_is_told_each_time(
    models: dict[str, Any], told: list[str]
) -> None:
    wanted = configured(unet={"enable_forward_chunking": True})
    for _ in range(2):
        assert list(setting_changes(wanted, models)) == []
    assert told == ["UNet2DConditionModel has no enable_forward_chunking: it does nothing"] * 2
    wanted = configured(unet={"enable_forward_chunking": True, "channels_last": True})
    assert [each.name for each in setting_changes(wanted, models)] == ["channels_last"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"enable_attention_slicing": True}, True),
        ({"disable_attention_slicing": True}, False),
        ({}, False),
    ],
)
def test_attention_is_sliced_where_the_file_says_so(data: Any, expected: bool) -> None:
    assert slices_attention(configured(**data), {}) is expected


@pytest.mark.parametrize(
    ("device", "data", "expected"),
    [
        ("mps", {}, True),
        ("mps", {"disable_attention_slicing": True}, False),
        ("cpu", {}, False),
    ],
)
def test_attention_is_sliced_on_a_small_device(device: str, data: Any, expected: bool) -> None:
    weight = SimpleNamespace(device=torch.device(device))
    models = {
        "empty": torch.nn.Identity(),
        "unet": SimpleNamespace(parameters=lambda: iter([weight])),
    }
    assert slices_attention(configured(**data), models) is expected


def test_models_on_a_small_device_are_sliced_unasked() -> None:
    class OnMps(torch.nn.Module):
        def parameters(self, recurse: bool = True) -> Any:
            return iter([SimpleNamespace(device=torch.device("mps"))])

        def set_attention_slice(self, _: str) -> None: ...

    expected = [(Layer.ATTENTION, "attention_slicing", ("", True), {"unet"})]
    assert described(list(setting_changes(configured(), {"unet": OnMps()}))) == expected


def reconciled(models: dict[str, Any], states: dict[str, ModelState], **data: Any) -> None:
    missing, lost = rewind(states, list(setting_changes(configured(**data), models)))
    assert not lost
    apply(SimpleNamespace(**models), states, missing)


@pytest.fixture
def states(models: dict[str, Any]) -> dict[str, ModelState]:
    return {name: ModelState(model) for name, model in models.items()}


def test_a_switch_with_another_value_is_put_back_first(
    models: dict[str, Any], states: dict[str, ModelState], monkeypatch: pytest.MonkeyPatch
) -> None:
    def enable_tiling(vae: Any, **sizes: int) -> None:
        vae.sizes = {**getattr(vae, "sizes", {}), **sizes}

    monkeypatch.setattr(AutoencoderKL, "enable_tiling", enable_tiling)
    for sizes in ({"height": 1}, {"width": 2}):
        reconciled(models, states, components={"vae": {"enable_tiling": sizes}})
        assert models["vae"].sizes == sizes
    reconciled(models, states)
    assert not hasattr(models["vae"], "sizes")


def test_an_argument_that_a_method_does_not_take_is_told(
    models: dict[str, Any], states: dict[str, ModelState]
) -> None:
    with pytest.raises(RunFailed, match=r"AutoencoderKL.enable_tiling: .*'wdth'"):
        reconciled(models, states, components={"vae": {"enable_tiling": {"wdth": 1}}})


class Part(torch.nn.Module):
    """Notes which of its methods are called, and with what."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.noted: list[Any] = []
        self.error = error

    def __getattr__(self, name: str) -> Any:
        if not name.startswith(("enable_", "set_attention_slice")):
            return super().__getattr__(name)

        def note(*given: Any, **more: Any) -> None:
            self.noted.append((name, given, more))
            if self.error:
                raise self.error

        return note


@pytest.mark.parametrize(
    ("component", "data", "noted"),
    [
        ("vae", {"vae": {"enable_slicing": True}}, ("enable_slicing", (), {})),
        ("vae", {"vae": {"enable_tiling": True}}, ("enable_tiling", (), {})),
        (
            "unet",
            {"unet": {"enable_forward_chunking": True}},
            ("enable_forward_chunking", (), {}),
        ),
        (
            "vae",
            {"components": {"vae": {"enable_tiling": {"tile_size": 8}}}},
            ("enable_tiling", (), {"tile_size": 8}),
        ),
        ("unet", {"freeu": FREEU}, ("enable_freeu", (), FREEU)),
        ("any", {"enable_attention_slicing": True}, ("set_attention_slice", ("auto",), {})),
    ],
)
def test_each_setting_is_made_by_its_method(component: str, data: Any, noted: Any) -> None:
    part = Part()
    [change] = setting_changes(configured(**data), {component: part})
    change.apply(SimpleNamespace(**{component: part}))
    assert part.noted == [noted]


def test_a_setting_of_a_module_inside_is_made_on_it_alone() -> None:
    vae = Part()
    vae.decoder = Part()
    wanted = configured(components={"vae.decoder": {"enable_tiling": True}})
    [change] = setting_changes(wanted, {"vae": vae})
    assert described([change]) == [(Layer.SETTING, "enable_tiling", ("decoder", True), {"vae"})]
    change.apply(SimpleNamespace(vae=vae))
    assert (vae.noted, vae.decoder.noted) == ([], [("enable_tiling", (), {})])


def test_a_method_that_does_not_take_its_arguments_says_why() -> None:
    vae = Part(TypeError("no 'tile_size'"))
    [change] = setting_changes(configured(vae={"enable_slicing": True}), {"vae": vae})
    with pytest.raises(RunFailed) as caught:
        change.apply(SimpleNamespace(vae=vae))
    assert caught.value.message == "Part.enable_slicing: TypeError: no 'tile_size'"


def test_slices_leave_the_processors_of_an_ip_adapter(
    models: dict[str, Any], states: dict[str, ModelState]
) -> None:
    class IPAdapterAttnProcessor(torch.nn.Module):
        pass

    unet = models["unet"]
    image = IPAdapterAttnProcessor()
    name = next(name for name in unet.attn_processors if "attn2" in name)
    states["unet"].rewind(0)
    unet.set_attn_processor({**unet.attn_processors, name: image})
    [change] = setting_changes(configured(enable_attention_slicing=True), models)
    change.apply(SimpleNamespace(**models))
    found = dict(unet.attn_processors)
    assert found.pop(name) is image
    assert {type(each) for each in found.values()} == {SlicedAttnProcessor}


def test_a_processor_is_that_of_all_attention(
    models: dict[str, Any], states: dict[str, ModelState]
) -> None:
    before = dict(models["unet"].attn_processors)
    reconciled(models, states, unet={"attn_processor_type": ATTENTION})
    assert {type(each) for each in models["unet"].attn_processors.values()} == {AttnProcessor}
    reconciled(models, states)
    assert models["unet"].attn_processors == before


def test_a_backend_is_that_of_one_model(
    models: dict[str, Any], states: dict[str, ModelState]
) -> None:
    active = _AttentionBackendRegistry._active_backend
    wanted = {"transformer": {"attention_backend": "_native_math"}}
    reconciled(models, states, components=wanted)
    assert _AttentionBackendRegistry._active_backend is active
    processors = models["transformer"].attn_processors.values()
    assert {each._attention_backend for each in processors} == {AttentionBackendName._NATIVE_MATH}
    reconciled(models, states)
    assert {each._attention_backend for each in processors} == {None}


def test_a_backend_that_is_not_here_is_told(
    models: dict[str, Any], states: dict[str, ModelState]
) -> None:
    active = _AttentionBackendRegistry._active_backend
    with pytest.raises(RunFailed, match=r"attention_backend 'sage': .*sageattention"):
        reconciled(models, states, components={"transformer": {"attention_backend": "sage"}})
    assert _AttentionBackendRegistry._active_backend is active


def test_the_layout_of_the_weights_is_set_and_put_back(
    models: dict[str, Any], states: dict[str, ModelState]
) -> None:
    weight = models["unet"].down_blocks[0].resnets[0].conv1.weight
    before = weight.stride()
    reconciled(models, states, unet={"channels_last": True})
    assert weight.stride() != before
    assert weight.is_contiguous(memory_format=torch.channels_last)
    reconciled(models, states)
    assert weight.stride() == before


def test_freeu_draws_what_diffusers_draws_with_it_and_is_switched_off(
    session: Session, sd15: Path
) -> None:
    before = session.hashes(text_to_image(sd15))
    with_it = text_to_image(sd15, configuration={"freeu": FREEU})
    images = session.hashes(with_it)
    assert images != before
    assert session.loaded == ()
    assert session.hashes(text_to_image(sd15)) == before
    [path] = [output.path for output in session.run(with_it).outputs]
    bare = StableDiffusionPipeline.from_pretrained(sd15)
    bare.enable_freeu(**FREEU)
    bare.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(7)
    size = {"width": 64, "height": 64}
    [theirs] = bare("a cat", num_inference_steps=4, generator=generator, **size).images
    assert np.array_equal(np.asarray(Image.open(path)), np.asarray(theirs))


def test_freeu_is_for_the_unets_that_have_it(session: Session) -> None:
    document = text_to_image("m", configuration={"component_type": "FluxPipeline", "freeu": FREEU})
    [found] = [d for d in session.engine.check(session.document(document)) if "freeu" in d.message]
    assert found.message == ("'freeu' is for the UNets of Stable Diffusion, not for FluxPipeline")
    assert found.line is not None

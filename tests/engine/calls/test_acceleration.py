"""The attention backend of a call, and what models cannot have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel
from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry

from dw.engine.calls import acceleration
from dw.engine.calls.acceleration import accelerated, check_acceleration, usable
from dw.errors import RunFailed
from dw.workflow.format.configuration import Configuration
from tests.engine.calls.tiny_models import Caching, Pipeline, TinyFlux
from tests.engine.session import CancelsAt, Json, Session, text_to_image


def drawn(model: Path, backend: str | None) -> Json:
    configuration = {"component_type": "FluxPipeline", "attention_backend": backend}
    return text_to_image(model, configuration=configuration)


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the backends that computed attention."""
    names: list[str] = []
    original = _AttentionBackendRegistry.get_active_backend.__func__  # type: ignore[attr-defined]

    def remember(cls: Any) -> Any:
        name, function = original(cls)
        names.append(str(AttentionBackendName(name).value))
        return name, function

    monkeypatch.setattr(_AttentionBackendRegistry, "get_active_backend", classmethod(remember))
    return names


def test_it_computes_the_attention_of_its_call_only(
    warm: Session, flux: Path, used: list[str]
) -> None:
    for backend, expected in (("_native_math", "_native_math"), (None, "native")):
        used.clear()
        warm.run(drawn(flux, backend))
        assert set(used) == {expected}


def test_a_cancel_gives_the_one_before_back(warm: Session, flux: Path, used: list[str]) -> None:
    warm.cancel(drawn(flux, "_native_math"), CancelsAt(2))
    used.clear()
    warm.run(drawn(flux, None))
    assert set(used) == {"native"}


def test_what_this_machine_lacks_is_told_before_anything_loads(
    session: Session, flux: Path
) -> None:
    error = session.fail(drawn(flux, "flash"))
    assert error.message.startswith("attention_backend 'flash' cannot be used here: ")
    assert "flash-attn" in error.message
    assert session.engine.memory().components == ()


def test_a_rehearsal_goes_on_without_it_and_says_so(session: Session) -> None:
    plain = session.hashes(drawn(Path("any/model"), None), rehearse=True)
    assert session.hashes(drawn(Path("any/model"), "flash"), rehearse=True) == plain
    [told] = session.warnings
    assert told.endswith("; rehearsing without it")


def configured(**data: Any) -> Configuration:
    return Configuration.model_validate({"component_type": "x.Y", **data})


class TestForOneCall:
    """What is on while a pipeline is called, and off afterwards."""

    def test_is_the_backend(self) -> None:
        before = _AttentionBackendRegistry._active_backend
        for wanted, active in (
            (configured(attention_backend="_native_math"), AttentionBackendName._NATIVE_MATH),
            (configured(), before),
        ):
            with accelerated(Pipeline(Caching()), wanted, {}, pytest.fail):  # type: ignore[arg-type]
                assert _AttentionBackendRegistry._active_backend is active
            assert _AttentionBackendRegistry._active_backend is before

    def test_is_the_step_cache_with_the_arguments_of_the_call(self) -> None:
        model, told = Caching(), list[str]()
        wanted = configured(cache={"type": "mag", "calibrate": True})
        arguments = {"num_inference_steps": 3}
        with accelerated(Pipeline(model), wanted, arguments, told.append):  # type: ignore[arg-type]
            assert model._cache_config.num_inference_steps == 3
            print("[1.0, 0.5]")  # noqa: T201
        assert model._cache_config is None
        assert told == ['calibrated: "mag_ratios": [1.0, 0.5]']

    def test_is_teacache_with_the_arguments_of_the_call(self) -> None:
        model = TinyFlux()
        wanted = configured(teacache={"rel_l1_thresh": 1e6})
        arguments = {"num_inference_steps": 3}
        with accelerated(Pipeline(model), wanted, arguments, pytest.fail):  # type: ignore[arg-type]
            for step in range(3):
                model(hidden_states=torch.ones(1), timestep=torch.tensor([float(step)]))
        assert [block.computed for block in model.blocks] == [3, 2, 2, 2]
        model(hidden_states=torch.ones(1), timestep=torch.tensor([0.0]))
        assert [block.computed for block in model.blocks] == [4, 3, 3, 3]


class TestUsableBackends:
    def test_are_kept_and_not_left_on(self) -> None:
        active = _AttentionBackendRegistry._active_backend
        for backend in (None, "_native_math"):
            configuration = configured(attention_backend=backend)
            assert usable(configuration, pytest.fail, rehearse=False) is configuration
            assert _AttentionBackendRegistry._active_backend is active

    @pytest.mark.parametrize("backend", ["flash", "sage"])
    def test_are_named_where_this_machine_lacks_one(self, backend: str) -> None:
        with pytest.raises(RunFailed) as caught:
            usable(configured(attention_backend=backend), pytest.fail, rehearse=False)
        begin = f"attention_backend '{backend}' cannot be used here: "
        assert caught.value.message.startswith(begin)
        assert caught.value.hints == ("native, the default, is there on every machine",)

    def test_are_left_out_of_a_rehearsal_alone(self) -> None:
        told: list[str] = []
        wanted = configured(attention_backend="flash", teacache={"rel_l1_thresh": 0.5})
        found = usable(wanted, told.append, rehearse=True)
        assert found == configured(teacache={"rel_l1_thresh": 0.5})
        assert len(told) == 1
        assert told[0].startswith("attention_backend 'flash' cannot be used here: ")
        assert told[0].endswith("; rehearsing without it")


FREEU = {"s1": 0.6, "s2": 0.4, "b1": 1.1, "b2": 1.2}


@pytest.mark.parametrize(
    ("cls", "key", "value", "message"),
    [
        (
            "StableDiffusionPipeline",
            "cache",
            {"type": "first_block"},
            "StableDiffusionPipeline has no transformer, which step caches are for",
        ),
        (
            "StableDiffusion3Pipeline",
            "cache",
            {"type": "first_block"},
            "SD3Transformer2DModel has no step caches",
        ),
        ("WanPipeline", "teacache", {}, "TeaCache is for FLUX.1, not for WanTransformer3DModel"),
        (
            "Flux2Pipeline",
            "prompt_weighting",
            True,
            "'prompt_weighting' is for FLUX.1, not for Flux2Pipeline",
        ),
        (
            "FluxPipeline",
            "freeu",
            FREEU,
            "'freeu' is for the UNets of Stable Diffusion, not for FluxPipeline",
        ),
        ("FluxPipeline", "cache", {"type": "first_block"}, None),
        ("FluxPipeline", "teacache", {}, None),
        ("FluxPipeline", "prompt_weighting", True, None),
        ("StableDiffusionPipeline", "freeu", FREEU, None),
    ],
)
def test_what_a_class_cannot_have_is_told_at_its_key(
    cls: str, key: str, value: Any, message: str | None
) -> None:
    told = list(
        check_acceleration(getattr(diffusers, cls), configured(**{key: value}), ("steps", 0))
    )
    found = [(each.message, each.path, each.at_key) for each in told]
    assert found == ([] if message is None else [(message, ("steps", 0, key), True)])


def test_one_class_that_fits_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(*models: type) -> list[str]:
        monkeypatch.setattr(
            acceleration, "component_types", lambda _, name: models if name == "transformer" else ()
        )
        wanted = configured(cache={"type": "first_block"})
        return [each.message for each in check_acceleration(diffusers.FluxPipeline, wanted, ())]

    assert found(FluxTransformer2DModel, SD3Transformer2DModel) == []
    assert found(SD3Transformer2DModel, FluxTransformer2DModel) == []
    assert found() == []
    assert found(SD3Transformer2DModel) == ["SD3Transformer2DModel has no step caches"]

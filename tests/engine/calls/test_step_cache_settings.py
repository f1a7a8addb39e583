"""What diffusers is told of a step cache, for one call, and what a model cannot have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import (
    FasterCacheConfig,
    FirstBlockCacheConfig,
    FluxTransformer2DModel,
    LTX2VideoTransformer3DModel,
    MagCacheConfig,
    NucleusMoEImageTransformer2DModel,
    SD3Transformer2DModel,
    TaylorSeerCacheConfig,
    TextKVCacheConfig,
    WanTransformer3DModel,
)
from diffusers.hooks._helpers import TransformerBlockRegistry
from diffusers.hooks.mag_cache import FLUX_MAG_RATIOS
from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformerBlock
from diffusers.models.transformers.transformer_minimax_h3 import MiniMaxH3TransformerBlock

from dw.engine.calls.step_cache import applied, register_blocks, why_unsupported
from dw.errors import RunFailed
from dw.workflow.format.step_cache import StepCache
from tests.engine.calls.tiny_models import Caching, Joining, Pipeline

RATIOS = [1.0, 0.5, 0.25]
STEPS = {"num_inference_steps": 3}


def cache(name: str, **settings: Any) -> StepCache:
    return StepCache.model_validate({"type": name, **settings})


def during(
    pipeline: Any,
    wanted: StepCache,
    act: Callable[[], Any] = lambda: None,
    arguments: Any = STEPS,
    warn: Callable[[str], None] = pytest.fail,
) -> Any:
    """The config of the cache while it is on."""
    with applied(pipeline, wanted, arguments, warn):
        config = pipeline.transformer._cache_config
        act()
    return config


@pytest.mark.parametrize(
    ("wanted", "config"),
    [
        (cache("first_block", threshold=0.5), FirstBlockCacheConfig(threshold=0.5)),
        (cache("first_block"), FirstBlockCacheConfig()),
        (cache("taylorseer", max_order=2), TaylorSeerCacheConfig(max_order=2)),
        (
            cache("mag", mag_ratios=RATIOS),
            MagCacheConfig(mag_ratios=RATIOS, num_inference_steps=3),
        ),
        (
            cache("mag", mag_ratios=RATIOS, num_inference_steps=7, max_skip_steps=2),
            MagCacheConfig(mag_ratios=RATIOS, num_inference_steps=7, max_skip_steps=2),
        ),
        (
            cache("mag", mag_ratios="flux"),
            MagCacheConfig(mag_ratios=FLUX_MAG_RATIOS, num_inference_steps=3),
        ),
        (cache("mag", calibrate=True), MagCacheConfig(calibrate=True, num_inference_steps=3)),
    ],
)
def test_a_cache_is_on_for_its_call_with_what_the_file_says(wanted: Any, config: Any) -> None:
    model = Caching()
    found = during(Pipeline(model), wanted)
    assert type(found) is type(config)
    assert described(found) == described(config)
    assert model.noted == [found, ("off", found)]


def described(config: Any) -> dict[str, Any]:
    return {
        name: value.tolist() if isinstance(value, torch.Tensor) else value
        for name, value in vars(config).items()
    }


def bare(cls: Any) -> Any:
    """A model of this class without any layers."""
    model = cls.__new__(cls)
    torch.nn.Module.__init__(model)
    return model


def test_flux_has_its_own_magnitudes() -> None:
    model = bare(FluxTransformer2DModel)
    notes = Caching()
    model.enable_cache, model.disable_cache = notes.enable_cache, notes.disable_cache
    pipeline: Any = Pipeline(model)
    for wanted in (cache("mag"), cache("mag", calibrate=True)):
        with applied(pipeline, wanted, {}, pytest.fail):
            pass
    plain, _, measuring, _ = notes.noted
    assert described(plain) == described(
        MagCacheConfig(mag_ratios=FLUX_MAG_RATIOS, num_inference_steps=5)
    )
    assert (measuring.mag_ratios, measuring.calibrate) == (None, True)


def test_a_cache_is_off_after_a_failure() -> None:
    model = Caching()

    def fail() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        during(Pipeline(model), cache("first_block"), fail)
    assert model.noted[-1] == ("off", model.noted[0])
    assert not model._forward_pre_hooks


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (
            "Model class Block not registered.",
            RunFailed,
            "the cache 'first_block' does not know the blocks of Caching",
        ),
        ("the threshold is wrong", ValueError, "the threshold is wrong"),
    ],
)
def test_a_cache_that_is_half_on_is_taken_off(
    error: str, raised: type[Exception], message: str
) -> None:
    model = Caching(ValueError(error))
    with pytest.raises(raised, match=f"^{message}$"):
        during(Pipeline(model), cache("first_block"))
    assert model.noted[-1] == ("off", model.noted[0])
    assert model.noted[0] is not None


def test_passes_are_named_for_pipelines_that_do_not() -> None:
    for cls, names in ((Pipeline, ["pass 0"] * 3), (Joining, ["cond_uncond"] * 3)):
        model = Caching()
        pipeline = cls(model)
        during(pipeline, cache("first_block"), lambda p=pipeline: p(3))  # type: ignore[misc]
        assert model.noted[1:-1] == names


class Telling(Pipeline):
    current_timestep = 500


class TestFasterCache:
    @pytest.mark.parametrize(
        ("cls", "arguments", "settings", "is_distilled"),
        [
            (Joining, {}, {}, False),
            (Joining, {"guidance_scale": 1.5}, {}, False),
            (Joining, {"guidance_scale": 1}, {}, True),
            (Joining, {}, {"is_guidance_distilled": True}, True),
            (Telling, {"guidance_scale": 9.0}, {}, True),
            (Telling, {}, {"is_guidance_distilled": False}, False),
        ],
    )
    def test_knows_whether_the_passes_are_in_one_batch(
        self, cls: Any, arguments: Any, settings: Any, is_distilled: bool
    ) -> None:
        config = during(cls(Caching()), cache("faster", **settings), arguments=arguments)
        assert isinstance(config, FasterCacheConfig)
        assert config.is_guidance_distilled is is_distilled

    def test_skips_nothing_before_the_second_step(self) -> None:
        pipeline: Any = Telling(Caching())
        seen: list[float] = []
        with applied(pipeline, cache("faster"), {}, pytest.fail):
            callback = pipeline.transformer._cache_config.current_timestep_callback
            seen.append(callback())
            for step in range(3):
                pipeline.transformer(timestep=torch.tensor([float(step)]))
                seen.append(callback())
        assert seen == [float("inf"), float("inf"), 500, 500]

    def test_cannot_tell_two_passes_apart(self) -> None:
        pipeline: Any = Telling(Caching())
        with applied(pipeline, cache("faster"), {}, pytest.fail):
            for _ in range(2):
                pipeline.transformer(timestep=torch.tensor([1.0]))
            with pytest.raises(RunFailed) as caught:
                pipeline.transformer._cache_config.current_timestep_callback()
        assert caught.value.message == "the cache 'faster' cannot tell the passes of a step apart"
        assert caught.value.hints == (
            "without a negative prompt, and with true_cfg_scale 1, there is one",
        )

    def test_needs_a_timestep(self) -> None:
        with pytest.raises(
            RunFailed,
            match=r"^Pipeline does not tell its timestep, which the cache 'faster' needs$",
        ):
            during(Pipeline(Caching()), cache("faster"))


@pytest.mark.parametrize("calibrate", [True, None])
def test_what_a_calibration_measures_is_told(
    calibrate: bool | None, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []
    text = "Calibrated:\n[1.0, 9.5e-1]\nnot [2.0] this\n[0.5, 1e+00, -1.0]\n"
    wanted = cache("mag", **({"calibrate": True} if calibrate else {"mag_ratios": RATIOS}))
    during(Pipeline(Caching()), wanted, lambda: print(text), warn=told.append)  # noqa: T201
    ratios = ["[1.0, 9.5e-1]", "[0.5, 1e+00, -1.0]"] if calibrate else []
    assert told == [f'calibrated: "mag_ratios": {each}' for each in ratios]
    assert capsys.readouterr().out == ("" if calibrate else f"{text}\n")


@pytest.mark.parametrize(
    ("cls", "wanted", "message"),
    [
        (SD3Transformer2DModel, cache("first_block"), "SD3Transformer2DModel has no step caches"),
        (FluxTransformer2DModel, cache("first_block"), None),
        (FluxTransformer2DModel, cache("mag"), None),
        (NucleusMoEImageTransformer2DModel, cache("text_kv"), None),
        (
            FluxTransformer2DModel,
            cache("text_kv"),
            "the cache 'text_kv' is for Nucleus-MoE, not for FluxTransformer2DModel",
        ),
        (
            LTX2VideoTransformer3DModel,
            cache("mag", mag_ratios=RATIOS),
            "the cache 'mag' would leave out the audio of LTX2VideoTransformer3DModel",
        ),
        (LTX2VideoTransformer3DModel, cache("first_block"), None),
        (WanTransformer3DModel, cache("first_block"), None),
        (WanTransformer3DModel, cache("mag", mag_ratios=RATIOS), None),
        (WanTransformer3DModel, cache("mag", calibrate=True), None),
        (
            WanTransformer3DModel,
            cache("mag"),
            "the cache 'mag' needs 'mag_ratios' for WanTransformer3DModel; a run with "
            "'calibrate': true measures them",
        ),
    ],
)
def test_what_a_model_cannot_have_is_told(cls: Any, wanted: StepCache, message: str | None) -> None:
    assert why_unsupported(cls, wanted) == message


def test_a_model_without_the_cache_is_left_alone() -> None:
    model = Caching()
    with pytest.raises(RunFailed, match=r"^the cache 'text_kv' is for Nucleus-MoE, not for Cach"):
        during(Pipeline(model), cache("text_kv"))
    assert model.noted == []


def test_text_has_a_cache_of_its_own() -> None:
    class Nucleus(Caching, NucleusMoEImageTransformer2DModel):  # type: ignore[misc]
        pass

    model = bare(Nucleus)
    model.error, model.noted = None, []
    assert isinstance(during(Pipeline(model), cache("text_kv")), TextKVCacheConfig)


def test_blocks_that_diffusers_does_not_know_are_registered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for block in (MiniMaxH3TransformerBlock, LTX2VideoTransformerBlock):
        monkeypatch.delitem(TransformerBlockRegistry._registry, block, raising=False)
    register_blocks.cache_clear()
    during(Pipeline(Caching()), cache("first_block"))
    image = TransformerBlockRegistry.get(MiniMaxH3TransformerBlock)
    both = TransformerBlockRegistry.get(LTX2VideoTransformerBlock)
    assert image.return_hidden_states_index == both.return_hidden_states_index == 0
    assert image.return_encoder_hidden_states_index is None
    assert both.return_encoder_hidden_states_index == 1
    # What comes back beside the image is compared with the audio, not with the text.
    given = {"audio_hidden_states": "audio", "encoder_hidden_states": "text"}
    for args, named in ((("image", "audio"), {}), (("image",), given)):
        told = [
            both._get_parameter_from_args_kwargs(name, args, named)
            for name in ("hidden_states", "encoder_hidden_states")
        ]
        assert told == ["image", "audio"]

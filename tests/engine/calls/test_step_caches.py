"""Step caches on a tiny FLUX.1: for one call, as diffusers has them, and gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    CogVideoXPipeline,
    DiffusionPipeline,
    FirstBlockCacheConfig,
    FluxImg2ImgPipeline,
    FluxPipeline,
    MagCacheConfig,
    TaylorSeerCacheConfig,
)
from diffusers.hooks.mag_cache import FLUX_MAG_RATIOS
from torch.nn.modules.module import register_module_forward_hook

from dw.engine.calls import calling
from dw.engine.calls.denoising import Passes, denoising_steps, joins_passes, tells_passes
from dw.engine.calls.step_cache import CONFIGS
from tests.engine.session import Json, Session, generate, text_to_image, workflow

STEPS = 6
FLUX = {"component_type": "FluxPipeline"}
GUIDED = {"true_cfg_scale": 3.0, "negative_prompt": "a dog"}

FIRST_BLOCK: Json = {"type": "first_block", "threshold": 0.5}
FASTER: Json = {"type": "faster", "spatial_attention_timestep_skip_range": [-1, 1001]}
MAG: Json = {"type": "mag", "threshold": 0.5, "max_skip_steps": 2, "retention_ratio": 0.1}
TAYLORSEER: Json = {"type": "taylorseer", "cache_interval": 2, "disable_cache_before_step": 1}
CACHES = [FIRST_BLOCK, FASTER, MAG, TAYLORSEER]


def cached(model: Path, cache: Json | None, **arguments: Any) -> Json:
    """An image of FLUX.1 with a step cache."""
    return text_to_image(
        model,
        configuration={**FLUX, "cache": cache},
        arguments={"num_inference_steps": STEPS, **arguments},
    )


@contextmanager
def counting(model: torch.nn.Module) -> Iterator[list[str]]:
    """The names of the blocks that are computed, each time that they are."""
    blocks = {
        module: name.rpartition(".")[0]
        for name, module in model.named_modules()
        if name.endswith((".ff", ".proj_mlp"))
    }
    names: list[str] = []

    def count(module: torch.nn.Module, *_: Any) -> None:
        names.extend([blocks[module]] if module in blocks else [])

    # For all modules: what is set on one of them would go before the call.
    handle = register_module_forward_hook(count)
    try:
        yield names
    finally:
        handle.remove()


@pytest.fixture
def transformer(warm: Session, flux: Path) -> Any:
    warm.run(cached(flux, None))
    components = warm.engine._cache.components()
    return next(c.value for c in components if c.label == "gen.transformer")


@pytest.mark.parametrize("cache", CACHES, ids=lambda cache: cache["type"])
def test_a_cache_changes_its_call_only(warm: Session, flux: Path, cache: Json) -> None:
    plain = warm.hashes(cached(flux, None))
    first, again = (warm.hashes(cached(flux, cache)) for _ in range(2))
    assert first == again != plain
    assert warm.hashes(cached(flux, None)) == plain
    assert warm.loaded == ()


@pytest.mark.parametrize("cache", CACHES, ids=lambda cache: cache["type"])
def test_nothing_of_it_stays_on_the_model(
    warm: Session, flux: Path, transformer: Any, cache: Json
) -> None:
    warm.run(cached(flux, cache))
    assert not transformer.is_cache_enabled
    hooks = [
        m._diffusers_hook.hooks for m in transformer.modules() if hasattr(m, "_diffusers_hook")
    ]
    assert hooks
    assert not any(hooks)
    assert not transformer._forward_pre_hooks


@pytest.mark.parametrize(
    ("cache", "config"),
    [
        (FIRST_BLOCK, FirstBlockCacheConfig(threshold=0.5)),
        (
            MAG,
            MagCacheConfig(
                threshold=0.5,
                max_skip_steps=2,
                retention_ratio=0.1,
                num_inference_steps=STEPS,
                mag_ratios=FLUX_MAG_RATIOS,
            ),
        ),
        (TAYLORSEER, TaylorSeerCacheConfig(cache_interval=2, disable_cache_before_step=1)),
    ],
    ids=["first_block", "mag", "taylorseer"],
)
def test_the_image_is_the_one_that_diffusers_makes_with_it(
    warm: Session, flux: Path, cache: Json, config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = warm.hashes(cached(flux, cache, **GUIDED))

    @contextmanager
    def enabled(pipeline: Any, *_: Any) -> Iterator[None]:
        pipeline.transformer.enable_cache(config)
        yield
        pipeline.transformer.disable_cache()

    monkeypatch.setattr(calling, "accelerated", enabled)
    assert warm.hashes(cached(flux, None, **GUIDED)) == ours


@pytest.mark.parametrize(
    "settings",
    [
        {
            "type": "faster",
            "spatial_attention_block_skip_range": 3,
            "spatial_attention_timestep_skip_range": [-1, 900],
            "temporal_attention_block_skip_range": 4,
            "temporal_attention_timestep_skip_range": [-1, 800],
            "unconditional_batch_skip_range": 6,
            "unconditional_batch_timestep_skip_range": [-1, 700],
            "tensor_format": "BCHW",
            "is_guidance_distilled": True,
        },
        {**TAYLORSEER, "disable_cache_after_step": 4, "max_order": 2},
    ],
    ids=lambda cache: cache["type"],
)
def test_what_the_file_says_reaches_diffusers(
    warm: Session, flux: Path, settings: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, given = settings["type"], {}
    config = CONFIGS[name]
    monkeypatch.setitem(CONFIGS, name, lambda **told: config(**(given.update(told) or told)))
    warm.run(cached(flux, settings))
    said = {key: value for key, value in settings.items() if key != "type"}
    plain = {key: list(v) if isinstance(v, tuple) else v for key, v in given.items()}
    assert said == {key: plain[key] for key in said}


def test_fewer_blocks_are_computed(warm: Session, flux: Path, transformer: Any) -> None:
    with counting(transformer) as all_blocks:
        warm.run(cached(flux, None))
    with counting(transformer) as some_blocks:
        warm.run(cached(flux, {"type": "first_block", "threshold": 1000}))
    first, *others = dict.fromkeys(all_blocks)
    assert some_blocks.count(first) == all_blocks.count(first) == STEPS
    assert [some_blocks.count(name) for name in others] == [1] * len(others)


def test_each_iteration_begins_anew(warm: Session, flux: Path) -> None:
    """The second image is the one that it would be alone: no state of the first is left."""
    prompts = {"name": "say", "task": {"command": "gather_inputs", "inputs": ["a cat", "a dog"]}}
    document = cached(flux, {"type": "first_block", "threshold": 1000})
    one = cached(flux, {"type": "first_block", "threshold": 1000}, prompt="a cat")
    [step] = document["steps"]
    step["pipeline"]["arguments"]["prompt"] = "previous_result:say"
    images = warm.hashes(workflow(prompts, step))
    assert len(set(images)) == 2
    assert images[0] == warm.hashes(one)[0]


class TestPasses:
    """Pipelines that do not tell the caches which pass of a step they do."""

    def image_to_image(self, flux: Path, cache: Json | None, **arguments: Any) -> Json:
        return generate(
            flux,
            configuration={"component_type": "FluxImg2ImgPipeline", "cache": cache},
            arguments={
                "image": "cat.png",
                "num_inference_steps": STEPS,
                "strength": 1.0,
                **arguments,
            },
        )

    @pytest.mark.parametrize("cache", CACHES[:1] + CACHES[2:], ids=lambda cache: cache["type"])
    def test_are_told_apart_for_them(
        self, session: Session, flux: Path, cat: Path, cache: Json
    ) -> None:
        def hashes(cache: Json | None, **arguments: Any) -> list[str]:
            return session.hashes(workflow(self.image_to_image(flux, cache, **arguments)))

        assert hashes(cache) != hashes(None)
        # Alike passes change nothing, if each is compared with its own last one.
        alike = {"true_cfg_scale": 2.0, "negative_prompt": "a cat"}
        assert hashes(cache, **alike) == hashes(cache)

    def test_a_strength_leaves_out_steps(self) -> None:
        def steps(strength: float) -> int:
            arguments = {"num_inference_steps": 10, "strength": strength}
            return denoising_steps(FluxImg2ImgPipeline, arguments)

        assert [steps(s) for s in (1.0, 0.6, 0.25)] == [10, 6, 3]

    def test_the_schedule_tells_the_steps(self) -> None:
        assert denoising_steps(FluxPipeline, {}) == 28
        assert denoising_steps(FluxPipeline, {"num_inference_steps": 4}) == 4
        assert denoising_steps(FluxPipeline, {"sigmas": [1.0, 0.5, 0.2]}) == 3

    def test_calls_at_one_timestep_are_passes_of_one_step(self) -> None:
        passes, seen = Passes(), []
        for timestep in (1.0, 1.0, 0.5, 0.5, 0.5, 0.2):
            passes.begin(torch.tensor([timestep]))
            seen.append((passes.steps, passes.current))
        assert seen == [(1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (3, 0)]

    def test_what_pipelines_tell_themselves(self) -> None:
        assert [tells_passes(c) for c in (FluxPipeline, FluxImg2ImgPipeline)] == [True, False]
        assert [joins_passes(c) for c in (FluxPipeline, CogVideoXPipeline)] == [False, True]
        assert not tells_passes(DiffusionPipeline)


class TestWhatCannotBe:
    def test_a_model_without_blocks_that_are_known_keeps_none_of_it(
        self, warm: Session, flux: Path, transformer: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from diffusers.hooks._helpers import TransformerBlockRegistry
        from diffusers.models.transformers.transformer_flux import FluxSingleTransformerBlock

        plain = warm.hashes(cached(flux, None))
        monkeypatch.delitem(TransformerBlockRegistry._registry, FluxSingleTransformerBlock)
        error = warm.fail(cached(flux, FIRST_BLOCK))
        message = "the cache 'first_block' does not know the blocks of FluxTransformer2DModel"
        assert error.message == message
        assert warm.hashes(cached(flux, None)) == plain

    def test_faster_cache_with_two_passes(self, warm: Session, flux: Path) -> None:
        error = warm.fail(cached(flux, FASTER, **GUIDED))
        assert error.message == "the cache 'faster' cannot tell the passes of a step apart"
        assert "true_cfg_scale 1" in error.hints[0]

    def test_faster_cache_without_a_timestep(self, session: Session, flux: Path, cat: Path) -> None:
        step = TestPasses().image_to_image(flux, FASTER)
        error = session.fail(workflow(step))
        assert error.message == (
            "FluxImg2ImgPipeline does not tell its timestep, which the cache 'faster' needs"
        )

    @pytest.mark.parametrize(
        ("pipeline", "configuration", "message"),
        [
            (
                "StableDiffusionPipeline",
                {"cache": FIRST_BLOCK},
                "StableDiffusionPipeline has no transformer, which step caches are for",
            ),
            (
                "StableDiffusion3Pipeline",
                {"cache": FIRST_BLOCK},
                "SD3Transformer2DModel has no step caches",
            ),
            (
                "FluxPipeline",
                {"cache": {"type": "text_kv"}},
                "the cache 'text_kv' is for Nucleus-MoE, not for FluxTransformer2DModel",
            ),
            (
                "WanPipeline",
                {"cache": {"type": "mag"}},
                "the cache 'mag' needs 'mag_ratios' for WanTransformer3DModel; a run with "
                "'calibrate': true measures them",
            ),
            (
                "WanPipeline",
                {"teacache": {}},
                "TeaCache is for FLUX.1, not for WanTransformer3DModel",
            ),
            (
                "Flux2Pipeline",
                {"prompt_weighting": True},
                "'prompt_weighting' is for FLUX.1, not for Flux2Pipeline",
            ),
        ],
    )
    def test_is_told_from_the_classes(
        self, warm: Session, pipeline: str, configuration: Json, message: str
    ) -> None:
        configuration = {"component_type": pipeline, **configuration}
        document = text_to_image("any/model", configuration=configuration)
        del document["steps"][0]["result"]  # some make videos
        problems = warm.engine.check(warm.document(document))
        assert [problem.message for problem in problems] == [message]


def test_calibration_tells_the_ratios_and_skips_nothing(warm: Session, flux: Path) -> None:
    plain = warm.hashes(cached(flux, None))
    assert warm.hashes(cached(flux, {"type": "mag", "calibrate": True})) == plain
    [told] = warm.warnings
    head, _, ratios = told.partition(": ")
    assert head == "calibrated"
    assert ratios.startswith('"mag_ratios": [1.0, ')
    assert ratios.count(",") == STEPS - 1


def test_ratios_may_be_named_as_a_constant(warm: Session, flux: Path) -> None:
    ways = [None, "flux", "constant:diffusers.hooks.mag_cache.FLUX_MAG_RATIOS"]
    ways.append(FLUX_MAG_RATIOS.tolist())  # type: ignore[arg-type]
    images = [warm.hashes(cached(flux, {**MAG, "mag_ratios": way})) for way in ways]
    assert images == [images[0]] * 4

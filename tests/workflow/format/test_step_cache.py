"""What makes calls faster, as the file says it."""

from __future__ import annotations

from typing import Any

import pytest

from dw.workflow.format.step_cache import KEYS, StepCache, presets
from dw.workflow.module_source import constant_names, enum_values
from tests.workflow.samples import messages, of_pipeline, parse


def configured(**keys: Any) -> dict[str, Any]:
    return of_pipeline(configuration={"component_type": "FluxPipeline", **keys})


def cache_of(**keys: Any) -> StepCache:
    [step] = parse(configured(cache=keys)).bind().steps
    assert step.pipeline is not None
    assert step.pipeline.configuration.cache is not None
    return step.pipeline.configuration.cache


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        (
            {"cache": {"type": "first_blok"}},
            "'type' must be one of 'first_block', 'faster', 'mag', 'taylorseer', 'text_kv', got "
            "'first_blok' (did you mean 'first_block'?)",
        ),
        ({"cache": {}}, "'cache' needs 'type'"),
        (
            {"cache": {"type": "first_block", "max_order": 1}},
            "'max_order' is not for the cache 'first_block'; it takes threshold",
        ),
        (
            {"cache": {"type": "text_kv", "threshold": 1}},
            "'threshold' is not for the cache 'text_kv'; it takes no options",
        ),
        (
            {"cache": {"type": "first_block", "treshold": 1}},
            "unknown key 'treshold' (did you mean 'threshold'?)",
        ),
        (
            {"cache": {"type": "first_block", "threshold": -1}},
            "'threshold' must be at least 0, got -1",
        ),
        (
            {"cache": {"type": "mag", "mag_ratios": "flx"}},
            "'mag_ratios' must be a list of numbers or one of 'flux', got 'flx' "
            "(did you mean 'flux'?)",
        ),
        (
            {"cache": {"type": "mag", "mag_ratios": []}},
            "'mag_ratios' must be a list of numbers or one of 'flux', got []",
        ),
        (
            {"cache": {"type": "mag", "mag_ratios": [1, "2"]}},
            "'mag_ratios' must be a list of numbers or one of 'flux', got [1, \"2\"]",
        ),
        (
            {"cache": {"type": "mag", "calibrate": True, "mag_ratios": "flux"}},
            "'calibrate' measures the 'mag_ratios', so they cannot be given",
        ),
        (
            {"cache": {"type": "mag", "retention_ratio": 2}},
            "'retention_ratio' must be at most 1, got 2",
        ),
        (
            {"cache": {"type": "faster", "spatial_attention_timestep_skip_range": [681, -1]}},
            "'spatial_attention_timestep_skip_range' must be two timesteps, the lower one first, "
            "got [681, -1]",
        ),
        (
            {"cache": {"type": "first_block"}, "teacache": {}},
            "'cache' and 'teacache' exclude each other",
        ),
        ({"teacache": {"rel_l1_thresh": -1}}, "'rel_l1_thresh' must be at least 0, got -1"),
        ({"teacache": {"coefficients": []}}, "'coefficients' needs at least one item"),
        (
            {"teacache": {"variant": "flx"}},
            "'variant' must be one of 'flux', got 'flx' (did you mean 'flux'?)",
        ),
        (
            {"attention_backend": "flahs"},
            "'attention_backend' must be one of flash, flash_hub, flash_varlen, flash_varlen_hub, "
            "flash_4_hub, aiter_fa2_hub, flex, native, sage, sage_hub, sage_blackwell_hub, "
            "sage_varlen, xformers, got 'flahs' (did you mean 'flash'?)",
        ),
        ({"prompt_weighting": 1}, "'prompt_weighting' must be true or false, got 1"),
    ],
)
def test_what_is_wrong_is_named(configuration: dict[str, Any], message: str) -> None:
    assert messages(configured(**configuration)) == [message]


@pytest.mark.parametrize(
    "configuration",
    [
        {"cache": None, "teacache": {}},
        {"cache": {"type": "mag", "mag_ratios": None}},
        {
            "cache": {
                "type": "mag",
                "mag_ratios": "constant:diffusers.hooks.mag_cache.FLUX_MAG_RATIOS",
            }
        },
        {"attention_backend": "_native_cudnn"},
    ],
)
def test_what_the_format_has_is_accepted(configuration: dict[str, Any]) -> None:
    assert parse(configured(**configuration)).warnings == ()


def test_a_setting_is_what_the_file_says() -> None:
    assert cache_of(type="first_block").settings == {}
    assert cache_of(type="mag", mag_ratios=[1, 2]).settings == {"mag_ratios": (1.0, 2.0)}


@pytest.mark.parametrize("name", ["flux", "FLUX", "FLUX_MAG_RATIOS"])
def test_a_preset_goes_by_its_name_or_by_its_constant(name: str) -> None:
    assert cache_of(type="mag", mag_ratios=name).mag_ratios == "flux"


def test_every_key_is_of_some_type() -> None:
    assert StepCache.model_fields.keys() == {"type"}.union(*KEYS.values())


def test_the_installed_diffusers_is_asked_by_its_text() -> None:
    assert presets() == {"flux": "FLUX_MAG_RATIOS"}
    assert constant_names("no.such.module") == ()
    assert enum_values("diffusers.models.attention_dispatch", "Nobody") == ()


RANGE = "must be two timesteps, the lower one first"


@pytest.mark.parametrize(
    ("kind", "key", "right", "wrong", "message"),
    [
        ("taylorseer", "disable_cache_after_step", 26, -1, "must be at least 0"),
        ("faster", "spatial_attention_block_skip_range", 2, 0, "must be at least 1"),
        ("faster", "temporal_attention_block_skip_range", 2, 0, "must be at least 1"),
        ("faster", "temporal_attention_timestep_skip_range", [-1, 681], [681, -1], RANGE),
        ("faster", "unconditional_batch_skip_range", 5, 0, "must be at least 1"),
        ("faster", "unconditional_batch_timestep_skip_range", [-1, 641], [5], RANGE),
        ("faster", "tensor_format", "BFCHW", "FBCHW", "must be one of 'BCFHW', 'BFCHW', 'BCHW'"),
        ("faster", "is_guidance_distilled", True, "yes", "must be true or false"),
    ],
)
def test_a_key_takes_what_fits(kind: str, key: str, right: Any, wrong: Any, message: str) -> None:
    assert getattr(cache_of(**{"type": kind, key: right}), key) is not None
    [told] = messages(configured(cache={"type": kind, key: wrong}))
    assert told.startswith(f"{key!r} {message}")

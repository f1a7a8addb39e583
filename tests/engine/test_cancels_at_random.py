"""Cancels in a row, each at a random place: the image after them is the one before."""

from __future__ import annotations

import random
from typing import Any

import pytest
from diffusers import FirstBlockCacheConfig

from dw.engine import Cancelled
from dw.rehearsal import stand_in, stand_in_lora
from tests.engine.session import (
    CancelsAt,
    CancelsAtLook,
    Json,
    Session,
    merged,
    on_a_gpu,
    text_to_image,
)

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

STEPS = 6  # for the step caches: some are computed, some are not
FAMILIES = ["StableDiffusionPipeline", "StableDiffusionXLPipeline", "FluxPipeline"]
STEP_CACHES = {
    "first_block": {"cache": {"type": "first_block", "threshold": 0.5}},
    "faster": {
        "cache": {"type": "faster", "spatial_attention_timestep_skip_range": [-1, 1001]},
    },
    "mag": {
        "cache": {"type": "mag", "threshold": 0.5, "retention_ratio": 0.1, "mag_ratios": [1.0]},
    },
    "taylorseer": {
        "cache": {"type": "taylorseer", "cache_interval": 2, "disable_cache_before_step": 1},
    },
    "teacache": {"teacache": {"rel_l1_thresh": 0.8}},
}


def an_image(family: str, **changes: Any) -> Json:
    folder = stand_in(family, "")
    basis = {
        "configuration": {"component_type": family},
        "arguments": {"num_inference_steps": STEPS},
    }
    return text_to_image(folder, **merged(basis, changes))


@pytest.fixture(params=[5, pytest.param(20, marks=pytest.mark.long)])
def cancels(request: pytest.FixtureRequest) -> int:
    """How many runs in a row are cancelled."""
    return int(request.param)


def assert_cancels_leave_no_trace(
    session: Session, document: Json, cancels: int, seed: str
) -> None:
    session.run(document)  # what is loaded later is looked at more often
    whole = CancelsAtLook()
    before = session.hashes(document, control=whole)
    places = random.Random(seed)
    for _ in range(cancels):
        session.cancel(document, CancelsAtLook(places.randint(1, whole.looks)))
    assert session.hashes(document) == before
    assert session.loaded == ()


@pytest.mark.parametrize("family", FAMILIES)
def test_plain(session: Session, family: str, cancels: int) -> None:
    assert_cancels_leave_no_trace(session, an_image(family), cancels, family)


@pytest.mark.parametrize("family", FAMILIES)
def test_with_a_lora(session: Session, family: str, cancels: int) -> None:
    lora = {"model_name": str(stand_in_lora(stand_in(family, ""), "a-style", None)), "scale": 0.7}
    scaled = "joint_attention_kwargs" if "Flux" in family else "cross_attention_kwargs"
    document = an_image(family, loras=[lora], arguments={scaled: {"scale": 0.5}})
    assert_cancels_leave_no_trace(session, document, cancels, family)


@pytest.mark.parametrize("family", FAMILIES)
def test_with_offloaded_models(session: Session, family: str, cancels: int) -> None:
    document = an_image(family, configuration={"offload": "model"})
    assert_cancels_leave_no_trace(on_a_gpu(session), document, cancels, family)


@pytest.mark.parametrize("cache", STEP_CACHES)
def test_with_a_step_cache(session: Session, cache: str, cancels: int) -> None:
    plain = session.hashes(an_image("FluxPipeline"))
    document = an_image("FluxPipeline", configuration=STEP_CACHES[cache])
    assert session.hashes(document) != plain
    assert_cancels_leave_no_trace(session, document, cancels, cache)
    assert session.hashes(an_image("FluxPipeline")) == plain


def test_a_cache_that_something_else_put_on_a_model_is_taken_off(session: Session) -> None:
    """It would skip all but the first step of a run."""
    document = an_image("FluxPipeline")
    before = session.hashes(document)
    components = session.engine._cache.components()
    transformer = next(c.value for c in components if c.label == "gen.transformer")
    for recovers in (True, False):
        transformer.enable_cache(FirstBlockCacheConfig(threshold=1000.0))
        with pytest.raises(Cancelled):
            session.run(document, seed=8, control=CancelsAt(3))
        if recovers:
            session.engine.recover()
        assert session.hashes(document) == before

"""Twenty cancels in a row, each at a random place: the picture after them is the one before."""

from __future__ import annotations

import random
from typing import Any

import pytest
from diffusers import FirstBlockCacheConfig, MagCacheConfig, TaylorSeerCacheConfig

from dw.engine import RunControl
from dw.rehearsal import stand_in, stand_in_lora
from tests.engine.session import Json, Session, merged, on_a_gpu, text_to_image

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CANCELS = 20
STEPS = 6  # for the step caches: some are computed, some are not
FAMILIES = ["StableDiffusionPipeline", "StableDiffusionXLPipeline", "FluxPipeline"]
STEP_CACHES = {
    "FirstBlockCache": FirstBlockCacheConfig(threshold=0.5),
    "MagCache": MagCacheConfig(
        threshold=0.5, num_inference_steps=STEPS, retention_ratio=0.1, mag_ratios=[1.0] * STEPS
    ),
    "TaylorSeer": TaylorSeerCacheConfig(cache_interval=2, disable_cache_before_step=1),
}


class CancelsAtLook(RunControl):
    """A control that is cancelled when the run has looked at it this many times."""

    def __init__(self, look: int | None = None) -> None:
        super().__init__()
        self.looks = 0
        self._at = look

    def check(self) -> None:
        self.looks += 1
        if self.looks == self._at:
            self.cancel()
        super().check()


def a_picture(family: str, **changes: Any) -> Json:
    folder = stand_in(family, "")
    basis = {
        "configuration": {"component_type": family},
        "arguments": {"num_inference_steps": STEPS},
    }
    return text_to_image(folder, **merged(basis, changes))


def assert_cancels_leave_no_trace(session: Session, document: Json, seed: str) -> None:
    session.run(document)  # what is loaded later is looked at more often
    whole = CancelsAtLook()
    before = session.hashes(document, control=whole)
    places = random.Random(seed)
    for _ in range(CANCELS):
        session.cancel(document, CancelsAtLook(places.randint(1, whole.looks)))
    assert session.hashes(document) == before
    assert session.loaded == ()


@pytest.mark.parametrize("family", FAMILIES)
def test_plain(session: Session, family: str) -> None:
    assert_cancels_leave_no_trace(session, a_picture(family), family)


@pytest.mark.parametrize("family", FAMILIES)
def test_with_a_lora(session: Session, family: str) -> None:
    lora = {"model_name": str(stand_in_lora(stand_in(family, ""), "a-style", None)), "scale": 0.7}
    scaled = "joint_attention_kwargs" if "Flux" in family else "cross_attention_kwargs"
    document = a_picture(family, loras=[lora], arguments={scaled: {"scale": 0.5}})
    assert_cancels_leave_no_trace(session, document, family)


@pytest.mark.parametrize("family", FAMILIES)
def test_with_offloaded_models(session: Session, family: str) -> None:
    document = a_picture(family, configuration={"offload": "model"})
    assert_cancels_leave_no_trace(on_a_gpu(session), document, family)


@pytest.mark.parametrize("cache", STEP_CACHES)
def test_with_a_step_cache(session: Session, cache: str) -> None:
    document = a_picture("FluxPipeline")
    plain = session.hashes(document)
    components = session.engine._cache.components()
    transformer = next(c.value for c in components if c.label == "gen.transformer")
    transformer.enable_cache(STEP_CACHES[cache])
    assert session.hashes(document) != plain
    assert_cancels_leave_no_trace(session, document, cache)

"""What pipelines leave on models that others share: in their calls, and in their constructors."""

from __future__ import annotations

from functools import wraps
from typing import Any

import pytest
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from diffusers.models.attention_processor import AttnProcessor
from PIL import Image

from dw.engine import Engine
from tests.engine.session import Json, Session, text_to_image

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ADAPTER: Json = {
    "ip_adapter": {"model_name": "an/adapter", "weight_name": "plain.safetensors"},
    "arguments": {"ip_adapter_image": "red.png"},
}


class Doubling(AttnProcessor):  # type: ignore[misc]
    """Attention that can be told from others in an image."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return 2 * super().__call__(*args, **kwargs)


def other(**changes: Any) -> Json:
    """Of another class, which has the same models."""
    document = text_to_image("any/model", **changes)
    pipeline = document["steps"][0]["pipeline"]
    pipeline["configuration"]["component_type"] = "StableDiffusionImg2ImgPipeline"
    call = {name: pipeline["arguments"].get(name) for name in ("prompt", "ip_adapter_image")}
    pipeline["arguments"] = {name: value for name, value in call.items() if value}
    pipeline["arguments"] |= {"image": "red.png", "num_inference_steps": 4}
    return document


@pytest.fixture
def session(session: Session) -> Session:
    Image.new("RGB", (64, 64), "red").save(session.folder / "red.png")
    return session


def cold(session: Session, document: Json) -> list[str]:
    return Session(Engine(), session.folder).hashes(document, rehearse=True)


@pytest.mark.parametrize("adapter", [{}, ADAPTER], ids=["plain", "adapter"])
def test_processors_that_a_call_leaves_are_gone_before_the_next(
    session: Session, monkeypatch: pytest.MonkeyPatch, adapter: Json
) -> None:
    """As those of LEDITS++, which inverts with others and leaves them."""
    document = text_to_image("any/model", **adapter)
    before = session.hashes(document, rehearse=True)
    free = StableDiffusionPipeline.maybe_free_model_hooks

    def leaves(pipeline: Any) -> None:
        pipeline.unet.set_attn_processor(Doubling())
        pipeline.unet.eval().left = "something"
        free(pipeline)

    with monkeypatch.context() as patch:
        patch.setattr(StableDiffusionPipeline, "maybe_free_model_hooks", leaves)
        session.run(document, rehearse=True)
    assert session.hashes(document, rehearse=True) == before
    assert session.loaded == ()


@pytest.mark.parametrize("adapter", [{}, ADAPTER], ids=["plain", "adapter"])
def test_processors_of_a_constructor_are_below_what_the_workflow_wants(
    session: Session, monkeypatch: pytest.MonkeyPatch, adapter: Json
) -> None:
    """As those of FLUX.2 klein's KV pipeline."""
    before = session.hashes(text_to_image("any/model", **adapter), rehearse=True)
    usual = session.hashes(other(**adapter), rehearse=True)
    construct = StableDiffusionImg2ImgPipeline.__init__

    @wraps(construct)
    def constructed(pipeline: Any, *each: Any, **named: Any) -> None:
        construct(pipeline, *each, **named)
        pipeline.unet.set_attn_processor(Doubling())

    monkeypatch.setattr(StableDiffusionImg2ImgPipeline, "__init__", constructed)
    changed = cold(session, other(**adapter))
    assert changed != usual
    for _ in range(2):
        assert session.hashes(other(**adapter), rehearse=True) == changed
        assert session.hashes(text_to_image("any/model", **adapter), rehearse=True) == before
        assert session.loaded == ()

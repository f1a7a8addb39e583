"""IP-Adapters: an image as a prompt, for the calls that want it and for no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from dw.events import Loading
from dw.rehearsal import stand_in_ip_adapter
from tests.engine.session import CancelsAt, Json, Session, generate, text_to_image, workflow

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def adapter(scale: object = 1.0, name: str = "any/adapter", **more: object) -> Json:
    return {"model_name": name, "weight_name": "plain.safetensors", "scale": scale, **more}


def with_image(
    scale: object = 1.0, image: str = "red.png", name: str = "any/adapter", **changes: Any
) -> Json:
    call = {"ip_adapter_image": image, **changes.pop("arguments", {})}
    return text_to_image("any/model", ip_adapter=adapter(scale, name), arguments=call, **changes)


@pytest.fixture(scope="module")
def session(warm: Session) -> Session:
    """The module's warm session, with images to prompt with beside its workflows."""
    Image.new("RGB", (64, 64), "red").save(warm.folder / "red.png")
    Image.linear_gradient("L").convert("RGB").save(warm.folder / "grey.png")
    return warm


@pytest.fixture(scope="module")
def plain(session: Session) -> list[str]:
    return session.hashes(text_to_image("any/model"), rehearse=True)


@pytest.fixture(scope="module")
def red(session: Session) -> list[str]:
    return session.hashes(with_image(), rehearse=True)


def test_the_image_is_drawn_like_its_prompt(
    session: Session, plain: list[str], red: list[str]
) -> None:
    assert red != plain
    assert session.hashes(with_image(image="grey.png"), rehearse=True) not in (red, plain)
    assert session.loaded == ()


def test_without_it_the_image_is_the_plain_one_again(
    session: Session, plain: list[str], red: list[str]
) -> None:
    assert session.hashes(text_to_image("any/model"), rehearse=True) == plain
    assert session.dropped == ("gen.image_encoder",)
    assert session.hashes(with_image(), rehearse=True) == red


def test_the_scale_counts_and_is_set_for_each_call(
    session: Session, plain: list[str], red: list[str]
) -> None:
    assert session.hashes(with_image(0.0), rehearse=True) == plain
    assert session.hashes(with_image(0.5), rehearse=True) not in (plain, red)
    assert session.hashes(with_image({"up": 0.0, "down": 1.0}), rehearse=True) not in (plain, red)
    assert session.hashes(with_image(1), rehearse=True) == red


def test_scales_that_are_texts_count_as_the_numbers(session: Session) -> None:
    for texts, numbers in (("0.5", 0.5), ({"up": ["0.0"], "down": "1"}, {"up": [0.0], "down": 1})):
        images = session.hashes(with_image(texts), rehearse=True)
        assert images == session.hashes(with_image(numbers), rehearse=True)


def test_blocks_that_the_model_does_not_have_are_told(session: Session, red: list[str]) -> None:
    error = session.fail(with_image({"upp": 1.0}), rehearse=True)
    assert error.message == (
        "the scale {'upp': 1.0} of the IP-Adapter 'any/adapter/plain.safetensors' names blocks "
        "that StableDiffusionPipeline does not have"
    )
    assert session.hashes(with_image(), rehearse=True) == red


def test_another_adapter_takes_its_place(
    session: Session, plain: list[str], red: list[str]
) -> None:
    assert session.hashes(with_image(name="other/adapter"), rehearse=True) not in (plain, red)
    assert session.hashes(with_image(), rehearse=True) == red


@pytest.mark.parametrize("step", [1, 3])
def test_after_a_cancel_nothing_of_it_is_left(
    session: Session, plain: list[str], red: list[str], step: int
) -> None:
    session.cancel(with_image(), CancelsAt(step), rehearse=True)
    assert session.hashes(with_image(), rehearse=True) == red
    session.cancel(with_image(), CancelsAt(step), rehearse=True)
    assert session.hashes(text_to_image("any/model"), rehearse=True) == plain


def test_a_step_without_it_is_not_touched_by_its_neighbours(
    session: Session, plain: list[str], red: list[str]
) -> None:
    step = with_image()["steps"][0]
    without = {**generate("any/model"), "name": "plain"}
    last = {**step, "name": "last"}
    images = session.hashes(workflow(step, without, last), rehearse=True)
    assert images == [*red, *plain, *red]


def test_pipelines_that_know_nothing_of_it_are_not_touched(session: Session) -> None:
    latents = {"component_type": "StableDiffusionPAGImg2ImgPipeline"}
    call: Json = {"prompt": "a cat", "image": "grey.png", "num_inference_steps": 4}
    other = text_to_image("any/model", configuration=latents)
    other["steps"][0]["pipeline"]["arguments"] = call
    before = session.hashes(other, rehearse=True)
    session.run(with_image(), rehearse=True)
    assert session.hashes(other, rehearse=True) == before


def test_it_stands_beside_a_lora(session: Session, red: list[str]) -> None:
    lora = {"model_name": "any/lora", "weight_name": "x.safetensors"}
    both = session.hashes(with_image(loras=[lora]), rehearse=True)
    assert both != red
    assert session.hashes(with_image(), rehearse=True) == red
    assert session.hashes(with_image(loras=[lora]), rehearse=True) == both


@pytest.mark.parametrize("family", ["StableDiffusionXLPipeline", "FluxPipeline"])
def test_other_families_have_it_too(session: Session, family: str) -> None:
    configuration = {"component_type": family}
    with_it = session.hashes(with_image(configuration=configuration), rehearse=True)
    without = text_to_image("any/model", configuration=configuration)
    before = session.hashes(without, rehearse=True)
    assert with_it != before
    assert session.hashes(with_image(0.0, configuration=configuration), rehearse=True) == before


def test_an_adapter_of_another_model_does_not_fit_and_leaves_the_model_plain(
    session: Session, sd15: Path, sdxl: Path, plain: list[str]
) -> None:
    session.run(with_image(), rehearse=True)
    encoder = next(
        c.spec.source for c in session.engine._cache.components() if c.label == "gen.image_encoder"
    )
    alien = stand_in_ip_adapter(sdxl, encoder, "alien")
    session.allowed = (*session.allowed, encoder)
    own = {
        "model_name": str(alien),
        "image_encoder_pretrained_model_name_or_path": str(encoder),
    }
    document = text_to_image(sd15, ip_adapter=own, arguments={"ip_adapter_image": "red.png"})
    assert "does not fit StableDiffusionPipeline" in session.fail(document).message
    assert session.hashes(text_to_image("any/model"), rehearse=True) == plain


def test_a_pickle_needs_trust(session: Session, sd15: Path) -> None:
    torch.save({"ip_adapter": torch.zeros(2)}, session.folder / "adapter.bin")
    own = {"model_name": "adapter.bin", "image_encoder_folder": None}
    document = text_to_image(sd15, ip_adapter=own, arguments={"ip_adapter_image": "red.png"})
    assert "are pickles" in session.fail(document).message
    assert session.seen(Loading) == []


def test_a_pipeline_that_takes_none_is_told(session: Session) -> None:
    inpaint = {"component_type": "StableDiffusionUpscalePipeline"}
    document = text_to_image("any/model", configuration=inpaint, ip_adapter=adapter())
    document["steps"][0]["pipeline"]["arguments"] = {"prompt": "x", "ip_adapter_image": "red.png"}
    messages = [each.message for each in session.engine.check(session.document(document))]
    assert "StableDiffusionUpscalePipeline takes no IP-Adapter" in messages


@pytest.mark.parametrize("storage", ["torch.float8_e4m3fn", "torch.bfloat16"])
def test_layers_that_are_stored_smaller_stay_so_and_are_not_loaded_again(
    session: Session, storage: str
) -> None:
    casting = {"enable_layerwise_casting": {"storage_dtype": storage}}
    plain = text_to_image("any/model", configuration=casting)
    cast = session.hashes(plain, rehearse=True)
    red = session.hashes(with_image(configuration=casting), rehearse=True)
    assert [event.component for event in session.seen(Loading)] == ["gen.image_encoder"]
    assert red != cast
    for edited, images in (
        (with_image(configuration=casting), red),
        (with_image(0.0, configuration=casting), cast),
        (plain, cast),
    ):
        assert session.hashes(edited, rehearse=True) == images
        assert session.seen(Loading) == []

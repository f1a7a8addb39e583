"""IP-Adapters: an image as a prompt, for the calls that want it and for no other."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import DDPMPipeline, StableDiffusionPipeline
from diffusers.loaders import FluxIPAdapterMixin
from PIL import Image
from safetensors.torch import save_file

from dw.engine.calls import ip_adapter
from dw.engine.calls.ip_adapter import (
    IpAdapterFile,
    find_ip_adapter,
    ip_adapter_changes,
    prepare_images,
)
from dw.engine.models.fingerprint import Fingerprint
from dw.engine.models.model_state import Layer
from dw.errors import RunFailed
from dw.events import Loading
from dw.rehearsal import stand_in_ip_adapter
from dw.workflow.format.pipeline import Pipeline
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
    assert error.hints == (
        'a number, or for a UNet {"down": {"block_2": [0, 1]}, "mid": 1, "up": 0.5}',
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


# ------------------------------------------------------------------ which, and in which order


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.safetensors"
    save_file({"ip_adapter.1.to_k_ip.weight": torch.zeros(2)}, path)
    return path


def section(entry: Json | None) -> Pipeline:
    return Pipeline.model_validate(
        {
            "configuration": {"component_type": "StableDiffusionPipeline"},
            "from_pretrained_arguments": {"model_name": "m"},
            "arguments": {},
            "ip_adapter": entry,
        }
    )


def finding(path: Path, *, rehearse: bool = False) -> tuple[Any, list[tuple[Any, ...]]]:
    """A context whose sources have one file, and what they were asked for."""
    asked: list[tuple[Any, ...]] = []

    def file(*names: Any, access: Any, options: Any) -> Path:
        asked.append((*names, access, options))
        return path

    sources = SimpleNamespace(file=file)
    return SimpleNamespace(sources=sources, access="here", trust=False, rehearse=rehearse), asked


@pytest.mark.parametrize(
    ("entry", "inside", "title"),
    [
        ({"model_name": "a/b"}, None, "a/b"),
        ({"model_name": "a/b", "weight_name": "c.bin"}, "c.bin", "a/b/c.bin"),
        ({"model_name": "a/b", "weight_name": "c", "subfolder": "d"}, "d/c", "a/b/c"),
    ],
)
def test_a_file_is_asked_for_by_its_place_and_told_by_its_title(
    own: Path, entry: Json, inside: str | None, title: str
) -> None:
    for rehearse in (False, True):  # a rehearsal without an encoder has no adapter of its own
        context, asked = finding(own, rehearse=rehearse)
        found = find_ip_adapter(section({**entry, "scale": 0.5}), context, None)
        assert asked == [("a/b", inside, "here", {})]
        assert found == IpAdapterFile(Fingerprint.of(own), own, 0.5, title)
    context, _ = finding(own)
    assert find_ip_adapter(section(None), context, None) is None
    assert find_ip_adapter(section(entry), context, SimpleNamespace(source="e")) == IpAdapterFile(
        Fingerprint.of(own), own, None, title
    )


def test_a_rehearsal_asks_for_no_file(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr(ip_adapter, "stand_in_folder", lambda pipeline: pipeline)
    monkeypatch.setattr(
        ip_adapter, "stand_in_ip_adapter", lambda *each: (made.append(each), own)[1]
    )
    context, asked = finding(own, rehearse=True)
    wanted = section({"model_name": "a/b", "weight_name": "c"})
    found = find_ip_adapter(wanted, context, SimpleNamespace(source="encoder"))
    assert found is not None
    assert (found.path, found.title) == (own, "a/b/c")
    assert made == [(wanted, "encoder", "a/b/c")]
    assert asked == []


def test_what_is_no_adapter_is_told_before_it_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"layer.lora_down.weight": torch.ones(2)}, path)
    with pytest.raises(
        RunFailed, match=r"^the IP-Adapter 'a/b' \(.*\) is a LoRA, not an IP-Adapter"
    ):
        find_ip_adapter(section({"model_name": "a/b"}), finding(path)[0], None)


def changed(own: Path, cls: Any = StableDiffusionPipeline, scale: Any = 1.0) -> list[Any]:
    class Takes:
        def _load_ip_adapter_weights(self) -> None: ...

    wanted = IpAdapterFile(Fingerprint.of(own), own, scale, "style")
    return list(ip_adapter_changes(cls, {"unet": Takes(), "vae": object()}, wanted))


def test_the_adapter_is_one_change_and_its_scale_another(own: Path) -> None:
    on, scaled = changed(own, scale={"up": 1, "down": 2})
    mark = Fingerprint.of(own)
    assert (on.layer, on.name, on.value, on.models) == (
        Layer.IP_ADAPTER,
        "ip adapter",
        mark,
        {"unet"},
    )
    assert (scaled.layer, scaled.name, scaled.models) == (
        Layer.IP_ADAPTER_SCALE,
        "scale",
        {"unet"},
    )
    [*_, same], [*_, turned] = (
        changed(own, scale=scale) for scale in ({"up": 1, "down": 2}, {"down": 2, "up": 1})
    )
    assert same == scaled
    assert turned != scaled  # blocks are scaled in the order in which they are named


def test_a_class_without_adapters_is_told_when_one_is_wanted(own: Path) -> None:
    assert list(ip_adapter_changes(DDPMPipeline, {}, None)) == []
    with pytest.raises(RunFailed, match=r"^DDPMPipeline takes no IP-Adapter$"):
        changed(own, DDPMPipeline)


class Notes:
    """A pipeline that only notes what it is asked for."""

    components = {"unet": "a model"}  # noqa: RUF012

    def __init__(self, error: Exception | None = None) -> None:
        self.asked: list[Any] = []
        self.error = error

    def load_ip_adapter(self, *given: Any, **more: Any) -> None:
        self.asked.append((given, more))
        if self.error:
            raise self.error

    def set_ip_adapter_scale(self, scale: Any) -> None:
        self.asked.append(scale)


class NotesOfFlux(Notes, FluxIPAdapterMixin):  # type: ignore[misc]
    pass


@pytest.mark.parametrize(
    ("cls", "encoder"),
    [
        (Notes, "image_encoder_folder"),
        (NotesOfFlux, "image_encoder_pretrained_model_name_or_path"),
    ],
)
def test_the_encoder_is_not_loaded_with_the_adapter(
    own: Path, cls: type[Notes], encoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    detached: list[Any] = []
    monkeypatch.setattr(ip_adapter, "detach", lambda models, of: detached.append((*models, of)))
    pipeline = cls()
    on, scaled = changed(own, scale=None)
    on.apply(pipeline)
    scaled.apply(pipeline)
    loaded = {"subfolder": "", "weight_name": own.name, encoder: None}
    assert pipeline.asked == [((str(own.parent),), loaded), 1.0]
    assert detached == [("a model", Fingerprint.of(own))]


@pytest.mark.parametrize("error", [KeyError("proj"), RuntimeError("proj"), ValueError("proj")])
def test_an_adapter_that_does_not_fit_says_why(own: Path, error: Exception) -> None:
    with pytest.raises(RunFailed) as caught:
        changed(own)[0].apply(Notes(error))
    begin = "the IP-Adapter 'style' does not fit Notes: "
    assert caught.value.message.startswith(begin)
    assert caught.value.message.endswith(("proj", "'proj'"))


@pytest.mark.parametrize("key", ["0.to_q.lora.down.weight", "0.to_q_lora.down.weight"])
def test_an_adapter_of_faces_is_refused(own: Path, key: str) -> None:
    save_file({key: torch.zeros(2), "ip_adapter.1.to_k_ip.weight": torch.zeros(2)}, own)
    with pytest.raises(RunFailed, match=r"^'style' is a FaceID adapter, which is not supported$"):
        changed(own)[0].apply(Notes())


def test_a_pickle_that_is_trusted_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "own.bin"
    torch.save({"image_proj": {}, "ip_adapter": {"1.to_k_ip.weight": torch.zeros(2)}}, path)
    context, _ = finding(path)
    with pytest.raises(RunFailed, match="are pickles"):
        find_ip_adapter(section({"model_name": "a/b"}), context, None)
    context.trust = True
    found = find_ip_adapter(section({"model_name": "a/b"}), context, None)
    assert found is not None
    assert found.path == path
    monkeypatch.setattr(ip_adapter, "detach", lambda *_: None)
    pipeline = Notes()
    changed(path)[0].apply(pipeline)
    [((folder,), more)] = pipeline.asked
    assert (folder, more["weight_name"]) == (str(tmp_path), "own.bin")


def test_images_are_scaled_to_the_size_of_the_encoder() -> None:
    encoder = SimpleNamespace(config=SimpleNamespace(image_size=32))
    for given, size in ((encoder, 32), (None, 224)):
        pipeline = SimpleNamespace(feature_extractor=None, image_encoder=given)
        prepare_images(pipeline)
        scaled = pipeline.feature_extractor(Image.new("RGB", (60, 50)), return_tensors="pt")
        assert scaled.pixel_values.shape == (1, 3, size, size)
    bare = SimpleNamespace(feature_extractor=None)
    prepare_images(bare)
    assert bare.feature_extractor.crop_size == {"height": 224, "width": 224}
    own_one, without = SimpleNamespace(feature_extractor="own"), SimpleNamespace()
    prepare_images(own_one)
    prepare_images(without)
    assert (own_one.feature_extractor, vars(without)) == ("own", {})

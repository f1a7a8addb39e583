from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from diffusers import DDPMPipeline, Flux2Pipeline, FluxPipeline, StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from dw.engine.calls import loras
from dw.engine.calls.loras import LoraAdapter, find_loras, lora_changes
from dw.engine.models.fingerprint import Fingerprint
from dw.engine.models.model_state import Layer
from dw.errors import RunFailed
from dw.events import Loading
from dw.rehearsal import stand_in_lora
from dw.workflow.format.pipeline import Pipeline
from tests.engine.session import CancelsAt, Json, Session, generate, text_to_image, workflow


def lora(name: str, scale: float | str = 1.0) -> Json:
    return {"model_name": name, "weight_name": "x.safetensors", "scale": scale}


def with_loras(*loras: Json, **changes: Any) -> Json:
    return text_to_image("any/model", loras=list(loras), **changes)


@pytest.fixture(scope="module")
def plain(warm: Session) -> list[str]:
    return warm.hashes(with_loras(), rehearse=True)


@pytest.fixture(scope="module")
def first(warm: Session) -> list[str]:
    return warm.hashes(with_loras(lora("first")), rehearse=True)


def test_a_lora_changes_the_image_and_loads_no_component(
    warm: Session, plain: list[str], first: list[str]
) -> None:
    assert first != plain
    warm.run(with_loras(lora("first")), rehearse=True)
    assert warm.loaded == ()


def test_without_it_the_image_is_the_plain_one_again(
    warm: Session, plain: list[str], first: list[str]
) -> None:
    assert warm.hashes(with_loras(), rehearse=True) == plain
    assert warm.hashes(with_loras(lora("first")), rehearse=True) == first


def test_the_scale_counts(warm: Session, plain: list[str], first: list[str]) -> None:
    assert warm.hashes(with_loras(lora("first", 0.0)), rehearse=True) == plain
    assert warm.hashes(with_loras(lora("first", 0.5)), rehearse=True) not in (plain, first)
    assert warm.hashes(with_loras(lora("first", 1.0)), rehearse=True) == first
    assert warm.hashes(with_loras(lora("first", "1.0")), rehearse=True) == first


def test_two_together_differ_from_each_and_do_not_depend_on_what_was_there(
    warm: Session, first: list[str]
) -> None:
    both = with_loras(lora("first"), lora("second"))
    cold = warm.hashes(both, rehearse=True)
    second = warm.hashes(with_loras(lora("second")), rehearse=True)
    assert len({*cold, *first, *second}) == 3
    assert warm.hashes(both, rehearse=True) == cold


@pytest.mark.parametrize("step", [1, 3])
def test_after_a_cancel_the_image_is_the_same(warm: Session, first: list[str], step: int) -> None:
    scaled = {"arguments": {"cross_attention_kwargs": {"scale": 0.25}}}
    warm.cancel(with_loras(lora("first"), **scaled), CancelsAt(step), rehearse=True)
    assert warm.hashes(with_loras(lora("first")), rehearse=True) == first


def test_a_step_without_loras_is_not_touched_by_its_neighbour(
    warm: Session, plain: list[str], first: list[str]
) -> None:
    second = {**generate("any/model"), "name": "plain"}
    images = warm.hashes(
        workflow(generate("any/model", loras=[lora("first")]), second), rehearse=True
    )
    assert images == [*first, *plain]


def test_a_file_of_ones_own_is_found_by_folder_and_name(session: Session, sd15: Path) -> None:
    path = stand_in_lora(sd15, "own", None)
    named = {"model_name": str(path.parent), "weight_name": path.name}
    assert session.hashes(text_to_image(sd15, loras=[named])) != session.hashes(text_to_image(sd15))
    assert session.hashes(text_to_image(sd15, loras=[{"model_name": str(path)}]))


def test_a_lora_that_does_not_fit_is_an_error_and_leaves_the_model_plain(
    warm: Session, sd15: Path, flux: Path, plain: list[str]
) -> None:
    alien = {"model_name": str(stand_in_lora(flux, "alien", None))}
    error = warm.fail(text_to_image(sd15, loras=[alien]))
    assert isinstance(error, RunFailed)
    assert warm.hashes(text_to_image(sd15)) == plain


def test_a_missing_file_is_named(session: Session, sd15: Path) -> None:
    (session.folder / "loras").mkdir()
    missing = {"model_name": "loras", "weight_name": "no.safetensors"}
    assert "'no.safetensors'" in session.fail(text_to_image(sd15, loras=[missing])).message


def test_a_pickle_needs_trust(session: Session, sd15: Path) -> None:
    torch.save({"unet.lora.weight": torch.zeros(2)}, session.folder / "lora.bin")
    pickled = text_to_image(sd15, loras=[{"model_name": "lora.bin"}])
    assert "are pickles" in session.fail(pickled).message
    assert session.seen(Loading) == []
    assert "are pickles" not in session.fail(pickled, trust=True).message


def test_the_same_lora_twice_adds_up(warm: Session) -> None:
    twice = warm.hashes(with_loras(lora("first", 0.5), lora("first", 0.25)), rehearse=True)
    assert twice == warm.hashes(with_loras(lora("first", 0.75)), rehearse=True)


# ------------------------------------------------------------------ weights without a place


@pytest.fixture
def own(sd15: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(stand_in_lora(sd15, "own", None), tmp_path / "own.safetensors"))


def one_of_another_layer(weights: dict[str, torch.Tensor]) -> None:
    for part in "AB":
        layer = (
            f"unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora_{part}.weight"
        )
        weights[layer.replace("blocks.0", "blocks.7")] = weights[layer].clone()


def one_of_another_component(weights: dict[str, torch.Tensor]) -> None:
    weights["text_encoder_2.layers.0.lora_A.weight"] = torch.zeros(4, 4)
    weights["text_encoder_2.layers.0.lora_B.weight"] = torch.zeros(4, 4)


def one_of_another_text_encoder(weights: dict[str, torch.Tensor]) -> None:
    for number in (0, 7):
        layer = f"text_encoder.encoder.layers.{number}.self_attn.q_proj"
        weights[f"{layer}.lora_A.weight"] = torch.zeros(4, 32)
        weights[f"{layer}.lora_B.weight"] = torch.zeros(32, 4)


@pytest.mark.parametrize(
    "edit", [one_of_another_layer, one_of_another_component, one_of_another_text_encoder]
)
def test_weights_that_hit_nothing_are_counted_and_named(
    session: Session, sd15: Path, own: Path, edit: Any
) -> None:
    plain = session.hashes(text_to_image(sd15, loras=[{"model_name": str(own)}]))
    weights = load_file(own)
    edit(weights)
    save_file(weights, own)
    error = session.fail(text_to_image(sd15, loras=[{"model_name": str(own)}]))
    assert error.message.startswith(
        f"2 of the {len(weights)} weights of the LoRA {str(own)!r} have no place in "
        "StableDiffusionPipeline: "
    )
    assert error.hints == (
        "it may have been made for another model",
        '"allow_unused_weights": true   beside its model_name leaves them out',
    )
    assert ("7" if edit is not one_of_another_component else "text_encoder_2") in error.message
    allowed = {"model_name": str(own), "allow_unused_weights": True}
    assert session.hashes(text_to_image(sd15, loras=[allowed])) == plain
    session.fail(text_to_image(sd15, loras=[{**allowed, "allow_unused_weights": False}]))


def test_half_of_a_lora_is_taken_off_again(session: Session, sd15: Path, own: Path) -> None:
    """The UNet has its part already when that of the text encoder does not fit."""
    plain = session.hashes(text_to_image(sd15))
    weights = load_file(own)
    weights["text_encoder.encoder.layers.0.self_attn.q_proj.lora_A.weight"] = torch.ones(4, 7)
    weights["text_encoder.encoder.layers.0.self_attn.q_proj.lora_B.weight"] = torch.ones(7, 4)
    save_file(weights, own)
    [unet] = [c.value for c in session.engine._cache.components() if c.label == "gen.unet"]
    session.fail(text_to_image(sd15, loras=[{"model_name": str(own)}]))
    assert not hasattr(unet, "peft_config")
    assert session.hashes(text_to_image(sd15)) == plain
    assert session.loaded == ()


def test_a_lora_that_lost_its_leave_fails_warm_as_it_does_cold(
    session: Session, sd15: Path, own: Path
) -> None:
    weights = load_file(own)
    one_of_another_layer(weights)
    save_file(weights, own)
    allowed = {"model_name": str(own), "allow_unused_weights": True}
    session.run(text_to_image(sd15, loras=[allowed]))
    session.fail(text_to_image(sd15, loras=[{"model_name": str(own)}]))


# ------------------------------------------------------------------ which, and in which order


def section(*entries: Json) -> Pipeline:
    return Pipeline.model_validate(
        {
            "configuration": {"component_type": "StableDiffusionPipeline"},
            "from_pretrained_arguments": {"model_name": "m"},
            "arguments": {},
            "loras": list(entries),
        }
    )


def finding(path: Path, *, rehearse: bool = False) -> tuple[Any, list[tuple[Any, ...]]]:
    """A context whose sources have one file, and what they were asked for."""
    asked: list[tuple[Any, ...]] = []

    def file(*names: Any, access: Any, options: Any) -> Path:
        asked.append((*names, access, options))
        return path

    def needs_stand_in(pipeline: Any) -> bool:
        return rehearse and isinstance(pipeline, Pipeline)

    sources = SimpleNamespace(file=file)
    context = SimpleNamespace(
        sources=sources, access="here", trust=False, needs_stand_in=needs_stand_in
    )
    return context, asked


@pytest.mark.parametrize(
    ("entry", "inside", "title"),
    [
        ({"model_name": "a/b"}, None, "a/b"),
        ({"model_name": "a/b", "weight_name": "c.bin"}, "c.bin", "a/b/c.bin"),
        ({"model_name": "a/b", "weight_name": "c", "subfolder": "d"}, "d/c", "a/b/c"),
        ({"model_name": "a/b", "weight_name": "c", "adapter_name": "style"}, "c", "style"),
    ],
)
def test_a_file_is_asked_for_by_its_place_and_told_by_its_title(
    own: Path, entry: Json, inside: str | None, title: str
) -> None:
    context, asked = finding(own)
    more = {"scale": 0.5, "allow_unused_weights": True}
    [found] = find_loras(StableDiffusionPipeline, section({**entry, **more}), context)
    assert asked == [("a/b", inside, "here", {})]
    mark = Fingerprint.of(own)
    assert found == LoraAdapter(f"dw_{mark}", own, 0.5, title, mark, allows_unused=True)
    [plain] = find_loras(StableDiffusionPipeline, section(entry), context)
    assert (plain.scale, plain.allows_unused) == (1.0, False)


def test_a_rehearsal_asks_for_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: Path
) -> None:
    made: list[Any] = []
    monkeypatch.setattr(loras, "stand_in_folder", lambda pipeline: (made.append(pipeline), "m")[1])
    monkeypatch.setattr(loras, "stand_in_lora", lambda *given: (made.append(given), own)[1])
    context, asked = finding(tmp_path / "no", rehearse=True)
    assert find_loras(StableDiffusionPipeline, section(), context) == []
    assert made == []
    wanted = section({"model_name": "a/b", "weight_name": "c"}, {"model_name": "d"})
    assert [each.path for each in find_loras(FluxPipeline, wanted, context)] == [own, own]
    assert made == [wanted, ("m", "a/b", "c"), ("m", "d", None)]
    assert asked == []


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"layer.lokr_w1": 1}, "the LoRA 'style' .*is a LoKr"),
        ({"layer.lora_down.weight": 1, "layer.dora_scale": 1}, "the LoRA 'style' is a DoRA"),
    ],
)
def test_what_is_no_lora_is_told_before_it_is_loaded(
    tmp_path: Path, weights: dict[str, int], message: str
) -> None:
    path = tmp_path / "x.safetensors"
    save_file({name: torch.ones(2) for name in weights}, path)
    wanted = section({"model_name": "a/b", "adapter_name": "style"})
    with pytest.raises(RunFailed, match=message):
        find_loras(StableDiffusionPipeline, wanted, finding(path)[0])
    with pytest.raises(RunFailed, match=message):
        find_loras(DDPMPipeline, wanted, finding(path)[0])


def test_a_lokr_is_for_the_pipelines_that_read_it(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"layer.lokr_w1": torch.ones(2)}, path)
    wanted = section({"model_name": "a/b"})
    assert [each.path for each in find_loras(Flux2Pipeline, wanted, finding(path)[0])] == [path]


def test_one_file_is_one_adapter_and_its_scales_add_up(own: Path) -> None:
    mark = Fingerprint.of(own)
    given = [
        LoraAdapter("dw_a", own, 0.5, "a", mark),
        LoraAdapter("dw_b", own, 1.0, "b", mark, allows_unused=True),
        LoraAdapter("dw_a", own, 0.25, "a", mark),
    ]
    models = {"unet", "text_encoder"}
    on, scaled = lora_changes(StableDiffusionPipeline, given)
    wanted = (("dw_a", False), ("dw_b", True))
    assert (on.layer, on.name, on.value, set(on.models)) == (Layer.LORA, "loras", wanted, models)
    scales = (("dw_a", 0.75), ("dw_b", 1.0))
    assert (scaled.layer, scaled.name, scaled.value) == (Layer.LORA_SCALE, "scales", scales)
    assert set(scaled.models) == models
    told: list[Any] = []
    scaled.apply(SimpleNamespace(set_adapters=lambda names, **more: told.append((names, more))))
    assert told == [(["dw_a", "dw_b"], {"adapter_weights": [0.75, 1.0]})]


def test_a_class_without_loras_is_told_when_one_is_wanted(own: Path) -> None:
    assert list(lora_changes(DDPMPipeline, [])) == []
    wanted = LoraAdapter("dw_a", own, 1.0, "a", Fingerprint.of(own))
    with pytest.raises(RunFailed, match=r"^DDPMPipeline takes no LoRA$"):
        list(lora_changes(DDPMPipeline, [wanted]))


class TestLoading:
    """On a pipeline that only notes what it is asked for."""

    class Noting:
        components: ClassVar[dict[str, Any]] = {"unet": "a model"}
        _lora_loadable_modules = ("unet",)
        lora_state_dict = None

        def __init__(self, *names: str) -> None:
            self.loaded: list[Any] = []
            self.names = list(names)

        def load_lora_weights(self, source: Any, **more: Any) -> None:
            self.loaded.append((source, more))

        def get_list_adapters(self) -> dict[str, list[str]]:
            return {"unet": ["other"], "text_encoder": self.names}

    def loading(self, own: Path, *names: str) -> Any:
        pipeline = self.Noting(*names)
        adapter = LoraAdapter("dw_a", own, 1.0, "style", Fingerprint.of(own))
        next(iter(lora_changes(StableDiffusionPipeline, [adapter]))).apply(pipeline)
        return pipeline

    def test_names_the_file_and_the_adapter(
        self, own: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        detached: list[Any] = []
        monkeypatch.setattr(loras, "detach", lambda models, of: detached.append((*models, of)))
        expected = {"weight_name": own.name, "adapter_name": "dw_a"}
        assert self.loading(own, "dw_a").loaded == [(str(own.parent), expected)]
        assert detached == [("a model", Fingerprint.of(own))]

    def test_takes_the_weights_that_were_put_right(
        self, own: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[Any] = []
        right = {"unet.lora_A.weight": torch.ones(2)}
        monkeypatch.setattr(loras, "readable", lambda *given: (asked.append(given), right)[1])
        pipeline = self.loading(own, "dw_a")
        assert pipeline.loaded == [(right, {"adapter_name": "dw_a"})]
        assert asked == [(own, pipeline)]

    def test_that_left_no_adapter_is_told(self, own: Path) -> None:
        with pytest.raises(RunFailed, match=r"^the LoRA 'style' has no weights for Noting$"):
            self.loading(own)

"""The models of commands are kept, reported and freed with the components of pipelines."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from dw.engine.memory.footprint import Footprint
from dw.engine.models.spec import Placement
from dw.engine.models.task_models import visiting
from dw.events import Loading
from tests.engine.session import PNG, Session, generate, on_a_gpu, workflow
from tests.engine.tasks.commands import TEXT, step

WRITE = step("text_generation", TEXT, prompt="a cat", max_new_tokens=3)
DEPTH = step("depth_estimator", PNG, image="cat.png")
OF_WRITE = ("text_generation.model", "text_generation.tokenizer")


def kept(session: Session) -> set[str]:
    return {row.class_name for row in session.engine.memory().components}


def test_a_second_run_loads_nothing(session: Session) -> None:
    session.run(workflow(WRITE), rehearse=True)
    assert session.loaded == OF_WRITE
    session.run(workflow(WRITE), rehearse=True)
    assert (session.reason, session.loaded) == ("cached", ())


def test_an_edit_elsewhere_loads_nothing(session: Session) -> None:
    session.run(workflow(WRITE), rehearse=True)
    session.run(workflow(WRITE, description="edited"), rehearse=True)
    assert (session.reason, session.loaded) == ("changed", ())


def test_what_no_step_needs_any_more_is_dropped_before_anything_loads(
    session: Session, cat: Path
) -> None:
    session.run(workflow(WRITE), rehearse=True)
    session.run(workflow(DEPTH), rehearse=True)
    assert session.dropped == OF_WRITE
    assert kept(session) == {"DPTForDepthEstimation", "DPTImageProcessorPil"}


def test_memory_counts_them_and_clear_frees_them(session: Session) -> None:
    session.run(workflow(WRITE), rehearse=True)
    model, tokenizer = session.engine.memory().components
    assert (model.name, model.class_name, model.dtype) == (
        OF_WRITE[0],
        "Qwen2ForCausalLM",
        "float32",
    )
    assert session.engine.memory().allocated == model.nbytes > 0
    assert tokenizer.nbytes == 0
    report = session.engine.clear()
    assert (report.freed, report.survivors) == (model.nbytes, ())


def test_a_model_that_only_a_result_names_is_loaded_when_it_is_known(session: Session) -> None:
    tell = {"name": "tell", "task": {"command": "gather_inputs", "inputs": ["Qwen/Qwen3-0.6B"]}}
    write = step(
        "text_generation", TEXT, prompt="a", max_new_tokens=3, model_name="previous_result:tell"
    )
    session.run(workflow(tell, write), rehearse=True)
    assert session.loaded == ()
    assert [event.component for event in session.seen(Loading)] == list(OF_WRITE)
    session.run(workflow(tell, write), rehearse=True)
    assert session.seen(Loading) == []


def test_an_image_of_an_earlier_step_does_not_hide_which_model_is_needed(
    session: Session, cat: Path
) -> None:
    small = step("crop_square", None, image="cat.png")
    tell = step("text_generation", TEXT, prompt="a", image="previous_result:crop_square")
    session.run(workflow(small, {**tell, "name": "tell"}), rehearse=True)
    assert session.loaded == ("tell.model", "tell.processor")


def test_each_device_has_its_own_models(session: Session) -> None:
    there = {**WRITE, "name": "there"}
    there["task"] = {**WRITE["task"], "arguments": {**WRITE["task"]["arguments"], "device": "cpu"}}
    session.run(workflow(WRITE, there), rehearse=True)
    assert session.loaded == OF_WRITE  # the run's own is the CPU, too


def test_a_device_that_is_not_here_is_told(session: Session, cat: Path) -> None:
    elsewhere = step("depth_estimator", PNG, image="cat.png", device="cuda:7")
    session.run(workflow(elsewhere), rehearse=True)
    [warning] = session.warnings
    assert warning.startswith("device 'cuda:7' is not available")
    assert warning.endswith("; rehearsing on cpu")
    error = session.fail(workflow(elsewhere))
    assert error.message.startswith("device 'cuda:7' is not available")


class TestRelease:
    def test_the_models_of_tasks_go_and_those_of_pipelines_stay(
        self, session: Session, sd15: Path
    ) -> None:
        session.run(workflow(generate(sd15), {**WRITE, "release_models": True}), rehearse=True)
        assert "Qwen2ForCausalLM" not in kept(session)
        assert "UNet2DConditionModel" in kept(session)

    def test_what_comes_after_is_loaded_when_there_is_room(
        self, session: Session, sd15: Path
    ) -> None:
        document = workflow({**WRITE, "release_models": True}, generate(sd15))
        session.run(document, rehearse=True)
        assert session.loaded == OF_WRITE
        loaded = [event.component for event in session.seen(Loading)]
        assert loaded.index("gen.unet") > loaded.index(OF_WRITE[0])

    def test_a_sub_workflow_that_releases_makes_room_for_the_steps_after_it(
        self, session: Session, sd15: Path
    ) -> None:
        inner = workflow({**WRITE, "release_models": True}, id="inner")
        (session.folder / "inner.json").write_text(json.dumps(inner))
        sub = {"name": "sub", "workflow": {"path": "inner.json"}}
        session.run(workflow(sub, generate(sd15)), rehearse=True)
        assert session.loaded == ("sub.text_generation.model", "sub.text_generation.tokenizer")
        assert "gen.unet" in [event.component for event in session.seen(Loading)]
        assert "Qwen2ForCausalLM" not in kept(session)

    def test_a_released_model_is_loaded_again_when_it_is_needed(self, session: Session) -> None:
        again = {**WRITE, "name": "again"}
        session.run(workflow({**WRITE, "release_models": True}, again), rehearse=True)
        loaded = [event.component for event in session.seen(Loading)]
        assert loaded == [*OF_WRITE, "again.model", "again.tokenizer"]


def test_idle_models_give_way_when_room_is_short(
    session: Session, cat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell = {"name": "tell", "task": {"command": "gather_inputs", "inputs": ["a/b"]}}
    late = step("depth_estimator", PNG, image="cat.png", model_name="previous_result:tell")
    monkeypatch.setattr(Footprint, "has_room", lambda _: False)
    session.run(workflow(WRITE, tell, late), rehearse=True)
    assert kept(session) == {"DPTForDepthEstimation", "DPTImageProcessorPil"}


class TestVisits:
    class Mover(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.places: list[str] = []

        def to(self, place: str) -> None:  # type: ignore[override]
            self.places.append(place)

    def test_with_less_room_a_model_is_on_the_device_for_its_call(self) -> None:
        mover = self.Mover()
        with suppress(ZeroDivisionError), visiting({"m": mover}, Placement("cuda:0", "model")):
            assert mover.places == ["cuda:0"]
            raise ZeroDivisionError
        assert mover.places == ["cuda:0", "cpu"]

    def test_with_room_it_stays(self) -> None:
        mover = self.Mover()
        with visiting({"m": mover}, Placement("cuda:0")):
            pass
        assert mover.places == []

    def test_a_run_that_did_not_fit_before_has_visitors(self, session: Session) -> None:
        document = on_a_gpu(session).document(workflow(WRITE))
        session.engine._fallback._offload.keep(document, "model")
        session.run(document, rehearse=True)
        model, _ = session.engine._cache.components()
        assert model.spec.placement == Placement("cpu", "model")

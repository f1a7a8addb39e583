"""A stop ends the denoising early and keeps the image."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from diffusers import StableDiffusionPipeline

from dw.engine import RunControl
from dw.engine.execution.run import RunContext, RunState
from dw.engine.patches import progress_bars
from dw.engine.patches.progress_bars import Bar
from dw.events import Event, Stepped
from dw.workflow import Document
from tests.engine.session import Json, Session, generate, text_to_image, workflow

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


class StopsAt(RunControl):
    """A control that is stopped each time that a pipeline has done this many steps, at most
    `times`."""

    def __init__(self, step: int, *, times: int = 1) -> None:
        super().__init__()
        self._at = step
        self._times = times

    def stepped(self, step: int, steps: int) -> None:
        super().stepped(step, steps)
        if steps and step == self._at and self._times:
            self._times -= 1
            self.stop()


def steps_done(session: Session) -> list[tuple[str, int]]:
    """Workflow step and number of every denoising step but the 0th."""
    steps = session.seen(Stepped)
    return [(step.name, step.done) for step in steps if step.phase == "denoise" and step.done]


@pytest.fixture(autouse=True)
def every_step_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dw.engine.patches.progress_bars.REPORT_INTERVAL_S", 0.0)


FAMILIES = ["StableDiffusion", "StableDiffusionXL", "Flux"]


@pytest.mark.parametrize("family", [*FAMILIES, "StableDiffusionXLModular", "FluxModular"])
def test_the_denoising_ends_and_the_image_is_kept(warm: Session, family: str) -> None:
    document = text_to_image("a", configuration={"component_type": f"{family}Pipeline"})
    whole = warm.run(document, rehearse=True)
    stopped = warm.run(document, rehearse=True, control=StopsAt(2))
    assert steps_done(warm)[-1] == ("gen", 2)
    assert (whole.stopped_early, stopped.stopped_early) == (False, True)
    assert warm.warnings == []
    assert stopped.outputs[0].sha256 != whole.outputs[0].sha256
    assert warm.hashes(document, rehearse=True) == [whole.outputs[0].sha256]


def test_the_record_tells_it(session: Session, sd15: Path) -> None:
    result = session.run(text_to_image(sd15), control=StopsAt(1))
    record = json.loads((Path(result.output_dir) / "run.json").read_text())
    assert (record["state"], record["stopped_early"]) == ("finished", True)


def test_a_stop_that_came_first_leaves_one_step(warm: Session, sd15: Path) -> None:
    control = RunControl()
    control.stop()
    assert warm.run(text_to_image(sd15), control=control).stopped_early
    assert steps_done(warm) == [("gen", 1)]


def test_a_stop_after_the_last_step_changes_nothing(warm: Session, sd15: Path) -> None:
    result = warm.run(text_to_image(sd15), control=StopsAt(4))
    assert not result.stopped_early
    assert [result.outputs[0].sha256] == warm.hashes(text_to_image(sd15))


def test_a_pipeline_that_does_not_listen_says_so_and_goes_on(
    warm: Session, sd15: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StableDiffusionPipeline, "interrupt", False)
    result = warm.run(text_to_image(sd15), control=StopsAt(2))
    assert warm.warnings == ["StableDiffusionPipeline cannot stop early: it denoises to the end"]
    assert not result.stopped_early
    assert [result.outputs[0].sha256] == warm.hashes(text_to_image(sd15))


def test_of_a_denoising_in_parts_one_is_ended(session: Session) -> None:
    unused = dict.fromkeys(field.name for field in fields(RunContext))
    context = RunContext(**{**unused, "control": StopsAt(2)})
    pipeline = SimpleNamespace()
    run = RunState(context, planner=None, pipeline=pipeline)  # type: ignore[arg-type]
    done = []

    def progress_bar(total: int) -> Bar:  # as a pipeline makes it
        return Bar(total=total)

    with progress_bars.listening(progress_bars.Listener(run.count, lambda *_: None)):
        for part in range(3):
            bar = progress_bar(total=4)
            for _ in range(4):
                if not pipeline._interrupt:
                    done.append(part)
                    bar.update()
    assert done == [0, 0, *[1] * 4, *[2] * 4]
    assert run.stop.cuts == 1


def three_prompts(model: Path, **changes: Any) -> Json:
    """Three iterations of one step, then one that takes each of their images."""
    prompts = {"name": "prompts", "task": {"command": "gather_inputs", "inputs": ["a", "b", "c"]}}
    step = generate(model, arguments={"prompt": "previous_result:prompts"}, **changes)
    image = {"image": "previous_result:gen", "width": 8, "height": 8}
    small = {"name": "small", "task": {"command": "resize_rescale", "arguments": image}}
    return workflow(prompts, step, {**small, "result": {"content_type": "image/png"}})


def names(session: Session, document: Json | Document, **options: Any) -> list[str]:
    return [Path(output.path).name for output in session.run(document, **options).outputs]


@pytest.mark.parametrize("step", [2, 4])
def test_the_iterations_left_are_skipped_and_later_steps_run(
    warm: Session, sd15: Path, step: int
) -> None:
    document = three_prompts(sd15)
    assert len(names(warm, document)) == 6
    kept = names(warm, document, control=StopsAt(step))
    assert kept == ["demo-gen.1-0.0.png", "demo-small.2-0.0.png"]


def test_a_later_step_denoises_whole(warm: Session, sd15: Path) -> None:
    second = {**generate(sd15), "name": "second"}
    result = warm.run(workflow(generate(sd15), second), control=StopsAt(2))
    assert steps_done(warm)[1:3] == [("gen", 2), ("second", 1)]
    assert [result.outputs[1].sha256] == warm.hashes(text_to_image(sd15))


def stops_writing(session: Session, monkeypatch: pytest.MonkeyPatch) -> RunControl:
    """A control that is stopped when a model of the session has written three tokens."""
    control, emit = RunControl(), session.emit

    def emit_and_stop(event: Event) -> None:
        emit(event)
        if isinstance(event, Stepped) and (event.phase, event.done) == ("token", 3):
            control.stop()

    monkeypatch.setattr(session, "emit", emit_and_stop)
    return control


def write(**settings: Any) -> Json:
    arguments = {"prompt": "a cat", "max_new_tokens": 9, "generate_kwargs": settings}
    task = {"command": "text_generation", "arguments": arguments}
    return {"name": "write", "task": task, "result": {"content_type": "text/plain"}}


def tokens_done(session: Session) -> list[int]:
    return [step.done for step in session.seen(Stepped) if step.phase == "token"]


@pytest.mark.parametrize("settings", [{}, {"num_beams": 2}])
def test_a_text_ends_and_is_kept(
    session: Session, monkeypatch: pytest.MonkeyPatch, settings: Json
) -> None:
    whole = session.run(workflow(write(**settings)), rehearse=True)
    assert tokens_done(session)[-1] == 9
    control = stops_writing(session, monkeypatch)
    stopped = session.run(workflow(write(**settings)), rehearse=True, control=control)
    assert tokens_done(session)[-1] < 6
    assert (whole.stopped_early, stopped.stopped_early) == (False, True)
    assert (
        0
        < Path(stopped.outputs[0].path).stat().st_size
        < Path(whole.outputs[0].path).stat().st_size
    )


def test_a_model_that_is_called_by_itself_ends_its_text(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "transformers.AutoModelForCausalLM"
    pipeline = {
        "configuration": {"component_type": name, "generate": True},
        "from_pretrained_arguments": {"model_name": "any/model"},
        "arguments": {"input_ids": "previous_result:read.input_ids", "max_new_tokens": 9},
    }
    tokenizer = {
        "configuration": {"component_type": "transformers.AutoTokenizer"},
        "from_pretrained_arguments": {"model_name": "any/model"},
        "arguments": {"text": "a cat", "return_tensors": "pt"},
    }
    read = {"name": "read", "pipeline": tokenizer}
    control = stops_writing(session, monkeypatch)
    document = workflow(read, {"name": "think", "pipeline": pipeline})
    assert session.run(document, rehearse=True, control=control).stopped_early
    assert tokens_done(session) == [1, 2, 3]


def test_each_stop_ends_one_step(warm: Session, sd15: Path) -> None:
    second = {**generate(sd15), "name": "second"}
    warm.run(workflow(generate(sd15), second), control=StopsAt(2, times=2))
    assert steps_done(warm) == [("gen", 1), ("gen", 2), ("second", 1), ("second", 2)]


def test_a_stop_inside_a_sub_workflow_ends_the_iterations_around_it(
    session: Session, sd15: Path
) -> None:
    after = {**generate(sd15), "name": "after"}
    inner = workflow(generate(sd15, arguments={"prompt": "variable:prompt"}), after, id="child")
    (session.folder / "child.json").write_text(json.dumps({**inner, "variables": {"prompt": "x"}}))
    outer = three_prompts(sd15)["steps"][0]
    call = {"path": "child.json", "arguments": {"prompt": "previous_result:prompts"}}
    document = workflow(outer, {"name": "sub", "workflow": call})
    assert len(names(session, document)) == 6
    kept = names(session, document, control=StopsAt(2))
    assert kept == ["child-gen.0-0.0.png", "child-after.1-0.0.png"]
    assert steps_done(session)[-1] == ("sub.after", 4)

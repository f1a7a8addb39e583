from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dw.errors import RunFailed, WorkflowError
from dw.events import Executing, Loading, Planned, StepStarted, Warned
from tests.engine.session import PNG, Json, Session, generate, workflow

TEXT = {"content_type": "text/plain"}
LATE = (Executing, Loading)


def task(name: str, command: str, *, result: Json | None = PNG, **rest: Any) -> Json:
    """A step that saves what the command makes; `result`: None saves nothing."""
    saved = {} if result is None else {"result": result}
    return {"name": name, "task": {"command": command, **rest}, **saved}


def resize(image: Any, name: str = "small", **arguments: Any) -> Json:
    return task(name, "resize_rescale", arguments={"image": image, **arguments})


def names(session: Session, document: Json, **options: Any) -> list[str]:
    """The names of the files that a run writes."""
    return [Path(output.path).name for output in session.run(document, **options).outputs]


def size(session: Session, document: Json, **options: Any) -> tuple[int | None, int | None]:
    """Width and height of the last file that a run writes."""
    last = session.run(document, **options).outputs[-1]
    return last.width, last.height


def test_image_to_image_takes_the_image_of_the_step_before(session: Session, sd15: Path) -> None:
    refine = generate(sd15, configuration={"component_type": "StableDiffusionImg2ImgPipeline"})
    refine["pipeline"]["arguments"] = {"prompt": "a cat", "image": "previous_result:gen"}
    refine["name"] = "refine"
    first, second = session.run(workflow(generate(sd15), refine)).outputs
    assert first.sha256 != second.sha256
    assert (second.width, second.height) == (64, 64)


def test_each_image_of_a_batch_is_taken(session: Session, sd15: Path) -> None:
    batch = generate(sd15, arguments={"num_images_per_prompt": 3})
    small = resize("previous_result:gen", width=32, height=32)
    outputs = names(session, workflow(batch, small))
    assert outputs[:3] == [f"demo-gen.0-0.{index}.png" for index in range(3)]
    assert outputs[3:] == [f"demo-small.1-{index}.0.png" for index in range(3)]


def test_references_multiply(session: Session, cat: Path) -> None:
    sides = task("sides", "gather_inputs", inputs=[16, 32, 48], result=None)
    side = "previous_result:sides"
    document = workflow(sides, resize("cat.png", width=side, height=side))
    outputs = session.run(document).outputs
    sizes = [(output.width, output.height) for output in outputs]
    assert sizes == [(w, h) for w in (16, 32, 48) for h in (16, 32, 48)]


def test_a_property_of_a_result_is_taken(session: Session, cat: Path) -> None:
    measure = task("measure", "get_image_size", arguments={"image": "cat.png"}, result=None)
    document = workflow(measure, resize("cat.png", width="previous_result:measure.width", height=8))
    assert size(session, document) == (64, 8)


def test_a_missing_property_is_named(session: Session, sd15: Path) -> None:
    small = resize("previous_result:gen.pictures")
    error = session.fail(workflow(generate(sd15), small))
    assert isinstance(error, RunFailed)
    assert str(error) == "step 'small': the result of step 'gen' has no 'pictures'"


def test_the_mask_of_a_border_goes_to_the_argument_of_its_name(session: Session, cat: Path) -> None:
    border = task("border", "add_border_and_mask", arguments={"image": "cat.png", "zoom_all": 2})
    take = {"dict": {"mask": "previous_result:border"}, "key": "mask"}
    mask = task("mask", "get_dict_value", arguments=take)
    outputs = session.run(workflow(border, mask)).outputs
    assert [Path(output.path).name for output in outputs] == [
        "demo-border.0-0.0-bordered_image.png",
        "demo-border.0-0.0-mask.png",
        "demo-mask.1-0.0.png",
    ]
    assert outputs[1].sha256 == outputs[2].sha256


def test_a_step_without_results_to_take_does_nothing_and_says_so(
    session: Session, cat: Path
) -> None:
    nothing = task("none", "get_dict_value", arguments={"dict": {"x": []}, "key": "x"})
    outputs = names(session, workflow(nothing, resize("previous_result:none")))
    assert outputs == []
    assert "step 'small' did nothing" in session.warnings[0]


def test_results_are_dropped_when_no_later_step_needs_them(session: Session, cat: Path) -> None:
    from dw.engine.files.artifacts import Results

    results = Results(["a", "b.c", "b"])
    for step in ("a", "b.c", "b"):
        results.keep(step, [step])
    results.retain(["previous_result:b.c.width", "previous_result:a"])
    assert set(results._results) == {"a", "b.c"}


class TestSubWorkflows:
    CHILD = workflow(
        resize("variable:image", width="variable:side", height=8),
        variables={"image": {"location": "cat.png"}, "side": 24},
    )

    @pytest.fixture
    def child(self, session: Session, cat: Path) -> Path:
        path = session.folder / "child.json"
        path.write_text(json.dumps({**self.CHILD, "id": "child"}))
        return path

    def call(self, **arguments: Any) -> Json:
        return {"name": "sub", "workflow": {"path": "child.json", "arguments": arguments}}

    def test_it_runs_with_its_own_defaults_and_writes_under_its_own_id(
        self, session: Session, child: Path
    ) -> None:
        document = workflow(self.call())
        assert names(session, document) == ["child-small.0-0.0.png"]
        assert size(session, document) == (24, 8)

    def test_its_results_are_those_of_its_step(self, session: Session, child: Path) -> None:
        last = resize("previous_result:sub", "last", width=4, height=4)
        assert names(session, workflow(self.call(side=40), last))[-1] == "demo-last.1-0.0.png"

    def test_it_takes_images_that_were_made_before(
        self, session: Session, child: Path, sd15: Path
    ) -> None:
        document = workflow(generate(sd15), self.call(image="previous_result:gen", side=16))
        assert size(session, document) == (16, 8)

    def test_its_models_are_planned_and_its_seed_is_its_parents(
        self, session: Session, sd15: Path
    ) -> None:
        inner = workflow(generate(sd15))
        (session.folder / "child.json").write_text(json.dumps(inner))
        parent = workflow({**self.call(), "seed": 5})
        images = session.hashes(parent)
        assert "sub.gen.unet" in session.loaded
        assert StepStarted(0, "sub.gen", 1, 1) in session.seen(StepStarted)
        assert images == session.hashes(inner, seed=5)
        (session.folder / "child.json").write_text(json.dumps({**inner, "seed": 6}))
        assert session.hashes(parent) == session.hashes(inner, seed=6) != images

    def test_a_model_that_only_a_result_tells_is_loaded_late(
        self, session: Session, sd15: Path
    ) -> None:
        inner = generate("", from_pretrained_arguments={"model_name": "variable:model"})
        child = workflow(inner, variables={"model": "nobody/no-such-model"}, id="child")
        (session.folder / "child.json").write_text(json.dumps(child))
        tell = task("tell", "gather_inputs", inputs=[str(sd15)], result=None)
        late = workflow(tell, self.call(model="previous_result:tell"))
        assert session.hashes(late) == session.hashes(workflow(generate(sd15)))
        assert session.hashes(late)
        assert session.loaded == ()
        kinds = [type(event) for event in session.events if isinstance(event, LATE)]
        assert kinds == [Executing, *[Loading] * 4, Executing]
        session.run(late)
        assert session.reason == "cached"
        assert session.seen(Loading) == []

    def test_what_was_needed_late_goes_when_a_result_asks_for_another_model(
        self, session: Session, sd15: Path
    ) -> None:
        other = Path(shutil.copytree(sd15, session.folder / "other"))
        os.utime(other / "unet" / "diffusion_pytorch_model.safetensors", ns=(1, 1))
        inner = generate("", from_pretrained_arguments={"model_name": "variable:model"})
        child = workflow(inner, variables={"model": "x/y"}, id="child")
        (session.folder / "child.json").write_text(json.dumps(child))
        tell = task("tell", "gather_inputs", inputs=["variable:model"], result=None)
        late = workflow(
            tell, self.call(model="previous_result:tell"), variables={"model": str(sd15)}
        )
        session.run(late)
        session.run(late, model=str(other))
        unets = [row for row in session.engine.memory().components if "UNet" in row.class_name]
        assert len(unets) == 1

    def test_what_does_not_fit_inside_is_told_before_anything_loads(
        self, session: Session, sd15: Path
    ) -> None:
        child = workflow(generate(sd15, arguments={"promt": "a cat"}))
        (session.folder / "child.json").write_text(json.dumps(child))
        error = session.fail(workflow(generate(sd15), self.call()))
        assert isinstance(error, WorkflowError)
        assert Path(error.problems[0].path).name == "child.json"
        assert session.seen(Planned) == []

    def test_an_error_inside_names_the_inner_step(self, session: Session) -> None:
        inner = task("small", "get_dict_value", arguments={"dict": {"width": 1}, "key": "height"})
        (session.folder / "child.json").write_text(json.dumps(workflow(inner, id="child")))
        assert session.fail(workflow(self.call())).where == "step 'sub.small'"


class TestMedia:
    def test_a_missing_image_is_found_before_a_model_is_loaded(
        self, session: Session, sd15: Path
    ) -> None:
        error = session.fail(workflow(generate(sd15), resize("no.png")))
        assert isinstance(error, WorkflowError)
        assert "'no.png'" in error.message
        assert session.events == []

    @pytest.mark.parametrize(
        "place",
        ["cat.png", {"location": "cat.png"}, {"location": "cat.png", "media_type": "image"}],
    )
    def test_an_image_is_named_in_several_ways(
        self, session: Session, cat: Path, place: Any
    ) -> None:
        assert size(session, workflow(resize(place, width=8, height=8))) == (8, 8)

    def test_a_list_of_images_is_loaded_whole(self, session: Session, cat: Path) -> None:
        gather = task("all", "gather_inputs", arguments={"image": ["cat.png"] * 2}, result=None)
        measure = task(
            "one", "get_dict_value", arguments={"dict": "previous_result:all", "key": "image"}
        )
        assert len(names(session, workflow(gather, measure))) == 2

    def test_a_broken_image_is_named(self, session: Session) -> None:
        (session.folder / "broken.png").write_bytes(b"not a picture")
        error = session.fail(workflow(resize("broken.png")))
        assert error.message.startswith("cannot read the image 'broken.png'")
        assert session.seen(Planned) == []


def test_text_is_written_stripped_of_quotes(session: Session) -> None:
    arguments = {"dict": {"said": ' "hello" '}, "key": "said"}
    step = task("words", "get_dict_value", arguments=arguments, result=TEXT)
    [output] = session.run(workflow(step)).outputs
    assert Path(output.path).read_text() == "hello"


def test_a_result_of_the_wrong_kind_fails_the_run(session: Session, cat: Path) -> None:
    step = {**resize("cat.png"), "result": TEXT}
    error = session.fail(workflow(step))
    message = "text/plain cannot hold the images that resize_rescale makes; image/png can"
    assert error.message == message
    assert not (session.folder / "outputs").exists()


def test_images_can_be_gathered_by_pattern(session: Session, cat: Path) -> None:
    Image.new("RGB", (8, 8)).save(session.folder / "ant.png")
    step = task("all", "gather_images", arguments={"glob": "*.png"})
    outputs = session.run(workflow(step)).outputs
    assert [output.width for output in outputs] == [8, 64]


def test_each_call_of_a_sub_workflow_has_files_of_its_own(session: Session, cat: Path) -> None:
    child = {**workflow(resize("cat.png", width="variable:width")), "variables": {"width": 8}}
    (session.folder / "child.json").write_text(json.dumps({**child, "id": "child"}))
    calls = [
        {"name": f"sub{width}", "workflow": {"path": "child.json", "arguments": {"width": width}}}
        for width in (16, 24, 32)
    ]
    outputs = session.run(workflow(*calls)).outputs
    names = [Path(output.path).name for output in outputs]
    assert len(set(names)) == 3
    assert names[1:] == [names[0].replace(".png", f"-{number}.png") for number in (2, 3)]
    for output, width in zip(outputs, (16, 24, 32), strict=True):
        with Image.open(output.path) as image:
            assert (image.width, output.width) == (width, width)


class TestForetold:
    """What will be otherwise in a file is told before the first step."""

    @pytest.fixture
    def clip(self, session: Session) -> str:
        frames = [Image.new("RGB", (15, 10), (40 * n, 0, 0)) for n in range(3)]
        frames[0].save(
            session.folder / "odd.gif", save_all=True, append_images=frames[1:], duration=50
        )
        return "odd.gif"

    def before_the_first_step(self, session: Session) -> list[str]:
        kinds = [type(event) for event in session.events]
        early = session.events[: kinds.index(StepStarted)]
        return [event.message for event in early if isinstance(event, Warned)]

    def test_odd_sides(self, session: Session, clip: str) -> None:
        step = {
            "name": "a",
            "task": {"command": "interpolate_frames", "arguments": {"video": clip}},
            "result": {"content_type": "video/mp4"},
        }
        [output] = session.run(workflow(step), rehearse=True).outputs
        assert (output.width, output.height) == (16, 10)
        notes = [each for each in session.warnings if "is written as 16x10" in each]
        assert len(notes) == 1
        assert notes[0] in self.before_the_first_step(session)

    def test_a_fast_gif(self, session: Session, clip: str) -> None:
        step = {
            "name": "a",
            "task": {"command": "interpolate_frames", "arguments": {"video": clip}},
            "result": {"content_type": "image/gif", "fps": 60},
        }
        session.run(workflow(step), rehearse=True)
        [note] = [each for each in session.warnings if "a GIF of 60 frames" in each]
        assert note in self.before_the_first_step(session)

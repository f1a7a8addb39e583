"""Objects that a workflow builds, and media by their `media_type`: what is reported at load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dw.workflow.format.construction import construction
from dw.workflow.references import result_references
from tests.workflow.samples import messages, of_task, parse, workflow

IMAGE = "diffusers.modular_pipelines.minimax_h3.MiniMaxH3ImageReference"


def built(**keys: Any) -> dict[str, Any]:
    return {"reference_type": IMAGE, **keys}


@pytest.mark.parametrize(
    ("value", "constructor"),
    [
        (built(from_file="a.png"), "from_file"),
        (built(from_previous_result="a"), "from_previous_result"),
        (built(from_arguments={}, content_type="a"), "from_arguments"),
        (built(dtype="torch.float16", from_file="a.png"), "from_file"),
        (built(), None),
        ({"from_file": "a.png"}, None),
        (built(from_file="a.png", other_type="torch.Tensor"), None),
        (built(from_file="a.png", from_arguments={}), None),
        ("from_file", None),
    ],
)
def test_an_object_has_one_class_and_one_source(value: Any, constructor: str | None) -> None:
    found = construction(value)
    assert (found and found.constructor) == constructor


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            built(from_file="a.png", from_arguments={}),
            "an object is made one way: 'from_file' is given, so 'from_arguments' is not allowed",
        ),
        (
            built(from_file="a.png", other_type="torch.Tensor"),
            "an object has one class: 'reference_type' is given, so 'other_type' is not allowed",
        ),
        (
            {"from_previous_result": "a"},
            "'from_previous_result' needs a class beside it, under a key such as 'reference_type'",
        ),
        (
            built(from_arguments={"image": None}, fps=5),
            "'fps' is not allowed beside 'from_arguments'; arguments go inside",
        ),
        (built(from_arguments=5), "'from_arguments' must be an object, got 5"),
        (built(from_file=""), "'from_file' must be a string, got ''"),
        (built(from_previous_result=["a"]), "'from_previous_result' must be a string, got [\"a\"]"),
        (
            built(from_file="previous_result:first"),
            "'from_file' does not take results; 'from_previous_result' does",
        ),
        (
            built(from_file="a.png", fps="previous_result:first"),
            "'from_file' does not take results; 'from_previous_result' does",
        ),
        (
            built(from_file="notes.txt"),
            "'notes.txt' is not an image, video or audio file: known are jpg, jpeg, png, gif, "
            "bmp, webp, mp4, avi, mkv, mov, webm, wav, aiff, flac, mp3, ogg, opus",
        ),
        (
            built(from_previous_result="previous_result:first"),
            "'from_previous_result' is the bare name of a step, without 'previous_result:'",
        ),
        (
            built(from_previous_result="frist"),
            "unknown step 'frist' (did you mean 'first'?)",
        ),
        (built(from_previous_result="t"), "step 't' cannot use its own result"),
        (
            {"reference_type": "subprocess.Popen", "from_arguments": {}},
            "'reference_type' would import 'subprocess.Popen', which is not in the known "
            "packages (accelerate, bitsandbytes, controlnet_aux, diffusers, gguf, optimum, peft, "
            "sdnq, torch, torchao, transformers); the setting 'trust' allows it",
        ),
        (
            {"media_type": "picture", "location": "a.png"},
            "'media_type' must be one of 'image', 'video', 'audio', got 'picture'",
        ),
        (
            {"media_type": "imgae", "location": "a.png"},
            "'media_type' must be one of 'image', 'video', 'audio', got 'imgae' "
            "(did you mean 'image'?)",
        ),
    ],
)
def test_what_is_wrong_with_an_object_is_told_at_load(value: Any, message: str) -> None:
    first = {"name": "first", "task": {"command": "x", "arguments": {}}}
    assert message in messages(workflow(first, *of_task(reference=value)["steps"]))


@pytest.mark.parametrize(
    "value",
    [
        {"from_file": "no class beside it"},
        {"media_type": "image"},
        built(from_file="https://example.com/picture"),
        built(from_file="variable:place", fps=24),
        built(from_arguments={"image": built(from_previous_result="first")}),
        built(from_previous_result="first.frames", fps=24),
    ],
)
def test_what_the_format_has_is_accepted(value: Any) -> None:
    first = {"name": "first", "task": {"command": "x", "arguments": {}}}
    data = workflow(first, *of_task(reference=value)["steps"], variables={"place": "a.png"})
    assert parse(data).warnings == ()


def test_results_are_named_by_both_ways_of_writing_them() -> None:
    data = {"a": ["previous_result:x"], "b": built(from_previous_result="y.image")}
    assert list(result_references(data)) == [
        (("a", 0), "previous_result:x"),
        (("b", "from_previous_result"), "previous_result:y.image"),
    ]


class TestVariablesThatAreCalledAsMediaAre:
    def filled(self, arguments: Any, **variables: Any) -> Any:
        data = of_task(**arguments) | {"variables": variables}
        return parse(data, Path("w.json")).bind().steps[0].task.arguments  # type: ignore[union-attr]

    def test_they_are_media_where_the_key_does_not_say_so(self) -> None:
        filled = self.filled({"references": ["variable:first_image"]}, first_image="a.png")
        assert filled == {"references": [{"media_type": "image", "location": "a.png"}]}

    def test_so_is_each_item_of_a_list(self) -> None:
        filled = self.filled({"films": "variable:video"}, video=["a.mp4", {"location": "b.mp4"}])
        assert [each["media_type"] for each in filled["films"]] == ["video", "video"]

    @pytest.mark.parametrize(
        "arguments",
        [
            {"image": "variable:image"},
            {"mask_image": ["variable:image"]},
            {"x": {"media_type": "image", "location": "variable:image"}},
            {"reference": built(from_file="variable:image")},
            {"urls": ["variable:image"]},
        ],
    )
    def test_they_are_places_where_the_key_asks_for_one(self, arguments: Any) -> None:
        assert "'a.png'" in str(self.filled(arguments, image="a.png"))
        assert str(self.filled(arguments, image="a.png")).count("media_type") <= 1

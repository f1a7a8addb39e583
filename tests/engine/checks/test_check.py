from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dw.engine import Engine
from dw.errors import WorkflowError
from dw.workflow import validate_file
from tests.engine.session import Json, Session, generate, text_to_image, workflow


def messages(session: Session, document: Json) -> list[str]:
    return [problem.message for problem in session.engine.check(session.document(document))]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"subtype": "PCM_23"}, "WAV has no subtype 'PCM_23'; it has PCM_16"),
        ({"format": "MP4"}, "unknown audio format 'MP4'"),
        ({"subtype": "FLOAT", "format": "RF64"}, None),
    ],
)
def test_audio_files_are_of_kinds_that_libsndfile_has(
    warm: Session, result: Json, message: str | None
) -> None:
    step = {"name": "a", "task": {"command": "gather_inputs", "inputs": [1]}}
    document = workflow({**step, "result": {"content_type": "audio/wav", **result}})
    found = messages(warm, document)
    assert len(found) == (message is not None)
    assert all(each.startswith(message or "") for each in found)


def test_a_good_workflow_has_no_problems(warm: Session) -> None:
    assert messages(warm, text_to_image("any/model")) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"arguments": {"promt": "a cat"}},
            "StableDiffusionPipeline takes no argument 'promt' (did you mean 'prompt'?)",
        ),
        (
            {"from_pretrained_arguments": {"variatn": "fp16"}},
            "the loader takes no 'variatn' (did you mean 'variant'?)",
        ),
        (
            {"from_pretrained_arguments": {"torch_dtype": {"vea": "torch.float16"}}},
            "StableDiffusionPipeline has no component 'vea' (did you mean 'vae'?)",
        ),
        (
            {"from_pretrained_arguments": {"safety_checker": "x"}},
            "'safety_checker' must be null here; a component goes beside 'configuration'",
        ),
        (
            {"configuration": {"component_type": "EulerDiscreteScheduler"}},
            "'EulerDiscreteScheduler' is not a diffusers pipeline",
        ),
        (
            {"scheduler": {"configuration": {"scheduler_type": "AutoencoderKL"}}},
            "'AutoencoderKL' is not a diffusers scheduler",
        ),
        (
            {
                "transformer": {
                    "configuration": {"component_type": "FluxTransformer2DModel"},
                    "from_pretrained_arguments": {"model_name": "any/model"},
                }
            },
            "StableDiffusionPipeline has no component 'transformer'; it has "
            "scheduler, text_encoder, tokenizer, unet, vae, feature_extractor, image_encoder, "
            "safety_checker",
        ),
    ],
)
def test_what_does_not_fit_is_named(warm: Session, changes: Any, message: str) -> None:
    assert messages(warm, text_to_image("any/model", **changes)) == [message]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": "64"}, "'width' must be an integer, got '64'"),
        ({"width": 64.5}, "'width' must be an integer, got 64.5"),
        ({"height": True}, "'height' must be an integer, got true"),
        ({"guidance_scale": "high"}, "'guidance_scale' must be a number, got 'high'"),
        ({"prompt": 5}, "'prompt' must be a string or a list of strings, got 5"),
        ({"timesteps": 5}, "'timesteps' must be a list of integers, got 5"),
        ({"num_inference_steps": 0}, "'num_inference_steps' must be at least 1, got 0"),
    ],
)
def test_a_value_of_another_type_is_named(warm: Session, arguments: Any, message: str) -> None:
    document = warm.document(text_to_image("any/model", arguments=arguments))
    [problem] = warm.engine.check(document)
    assert problem.message == message
    [(name, value)] = arguments.items()
    line = document.text.splitlines()[problem.line - 1]
    assert line[problem.column - 1 :].rstrip(",") == json.dumps(value)
    assert f'"{name}"' in line


@pytest.mark.parametrize(
    "arguments",
    [
        {"guidance_scale": 7},
        {"width": None, "height": None},
        {"prompt": ["a cat", "a dog"]},
        {"cross_attention_kwargs": {"scale": 0.5}},
    ],
)
def test_a_value_that_the_annotation_allows_is_fine(warm: Session, arguments: Any) -> None:
    assert messages(warm, text_to_image("any/model", arguments=arguments)) == []


def test_an_argument_of_the_run_is_checked_before_anything_loads(warm: Session) -> None:
    document = workflow(
        generate("nobody/no-such-model", arguments={"width": "variable:side"}),
        variables={"side": None},
    )
    error = warm.fail(document, side="wide")
    assert isinstance(error, WorkflowError)
    assert error.message == "'width' must be an integer, got 'wide' (argument 'side')"


def test_a_pipeline_without_loras_is_told(warm: Session) -> None:
    ddpm = workflow(
        {
            "name": "gen",
            "pipeline": {
                "configuration": {"component_type": "DDPMPipeline"},
                "from_pretrained_arguments": {"model_name": "any/model"},
                "arguments": {},
                "loras": [{"model_name": "x"}],
            },
        }
    )
    assert messages(warm, ddpm) == ["DDPMPipeline takes no LoRA"]


def test_all_problems_are_told_at_once_with_their_lines(warm: Session) -> None:
    task = {"name": "cut", "task": {"command": "crop_square", "arguments": {"imgae": "variable:x"}}}
    wrong = workflow(generate("any/model", arguments={"promt": "x"}), task, variables={"x": None})
    document = warm.document(wrong)
    problems = warm.engine.check(document)
    assert len(problems) == 3
    for problem, word in zip(problems, ["promt", "crop_square", "imgae"], strict=True):
        assert word in document.text.splitlines()[problem.line - 1]


def test_what_is_wrong_in_one_place_hides_nothing_in_another(warm: Session) -> None:
    """A slip in each stage of validation, told at once, each where it is."""
    text = json.dumps(
        workflow(
            generate("./nowhere", arguments={"promt": "x"}, sed=5) | {"seed": "5"},
            {"name": "cut", "task": {"command": "crop_squre", "arguments": {}}},
            {
                "name": "ref",
                "task": {
                    "command": "crop_square",
                    "arguments": {"image": "https://x/a.png", "a": 2},
                },
            },
            {"name": "see", "task": {"command": "crop_square", "arguments": {"image": REFERENCE}}},
        ),
        indent=1,
    )
    path = warm.folder / "broken.json"
    path.write_text(text)
    result = validate_file(path)
    assert result.document is not None
    found = result.with_more(warm.engine.check(result.document)).problems
    lines = text.splitlines()
    assert [next(w for w in WORDS if w in lines[each.line - 1]) for each in found] == list(WORDS)


REFERENCE = "previous_result:nobody"
WORDS = ("nowhere", "promt", "sed", '"5"', "crop_squre", '"a"', REFERENCE)


def test_the_problems_of_a_sub_workflow_are_in_its_file(warm: Session) -> None:
    (warm.folder / "inner.json").write_text(
        json.dumps(text_to_image("any/model", arguments={"promt": "x"}))
    )
    outer = workflow({"name": "sub", "workflow": {"path": "inner.json", "arguments": {}}})
    [problem] = warm.engine.check(warm.document(outer))
    assert Path(problem.path).name == "inner.json"


def test_preparing_loads_nothing(tmp_path: Path) -> None:
    session = Session(Engine(), tmp_path)
    arguments = {"prompt": "a cat", "model_name": "previous_result:tell"}
    write = {"name": "w", "task": {"command": "text_generation", "arguments": arguments}}
    tell = {"name": "tell", "task": {"command": "depth_estimator", "arguments": {"image": "x.png"}}}
    session.engine.prepare(session.document(text_to_image("any/model")))
    session.engine.prepare(session.document(workflow(tell, write)))
    assert session.engine.memory().components == ()

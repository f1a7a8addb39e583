from __future__ import annotations

import json
import statistics
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from dw.errors import UsageError, WorkflowError
from dw.workflow import Diagnostic, Document, Workflow
from tests.workflow.samples import (
    PATH,
    SEEDS,
    of_pipeline,
    of_task,
    parse,
    pipeline,
    workflow,
)

TYPICAL = {
    **of_pipeline(
        configuration={
            "component_type": "FluxPipeline",
            "offload": "model",
            "vae": {"enable_tiling": True},
        },
        from_pretrained_arguments={"model_name": "variable:model", "torch_dtype": "variable:dtype"},
        arguments={
            "prompt": "variable:prompt",
            "image": "variable:image",
            "num_inference_steps": "variable:steps",
            "guidance_scale": "variable:guidance",
            "sigmas": "variable:sigmas",
        },
        loras=[{"model_name": "a/b", "scale": "variable:scale"}],
        scheduler={"configuration": {"scheduler_type": "variable:scheduler"}},
        vae={
            "configuration": {"component_type": "AutoencoderKL"},
            "from_pretrained_arguments": {"model_name": "c/d"},
        },
    ),
    "id": "FluxDev",
    "seed": "variable:seed",
    "variables": {
        "prompt": "a fox",
        "steps": 25,
        "guidance": 3.5,
        "scale": 0.8,
        "sigmas": [1.0, 0.5],
        "image": None,
        "seed": None,
        "model": "black-forest-labs/FLUX.1-dev",
        "dtype": "torch.bfloat16",
        "scheduler": "FlowMatchEulerDiscreteScheduler",
    },
}


@pytest.fixture
def typical() -> Document:
    return parse(TYPICAL)


def refusal(document: Document, **arguments: Any) -> tuple[Diagnostic, ...]:
    with pytest.raises(WorkflowError) as caught:
        document.bind(arguments)
    return caught.value.problems


def test_a_document_says_what_its_file_says() -> None:
    document = parse(workflow(description="two foxes", variables={"n": 1, "x": None}, seed=7))
    assert (document.id, document.description, document.seed) == ("w", "two foxes", 7)
    assert document.variables == {"n": 1, "x": None}
    assert json.loads(document.text) == document.data
    assert document.path == PATH


def test_what_is_left_out_is_empty() -> None:
    document = parse(workflow())
    assert (document.description, document.seed, document.variables) == (None, None, {})


def test_a_seed_may_be_a_variables() -> None:
    assert parse(workflow(seed="variable:s", variables={"s": 5})).seed == 5


def test_defaults_fill_the_places_of_the_variables(typical: Document) -> None:
    step = typical.bind().steps[0]
    assert step.pipeline is not None
    assert step.pipeline.arguments["num_inference_steps"] == 25
    assert step.pipeline.from_pretrained_arguments["torch_dtype"] == "torch.bfloat16"
    assert step.pipeline.loras[0].scale == 0.8


def test_arguments_replace_defaults_and_take_their_types(typical: Document) -> None:
    bound = typical.bind({"steps": "4", "guidance": 7, "seed": 11, "image": "a.png"})
    assert bound.seed == 11
    assert bound.variables["steps"] == 4
    assert bound.steps[0].pipeline is not None
    arguments = bound.steps[0].pipeline.arguments
    assert (arguments["num_inference_steps"], arguments["guidance_scale"]) == (4, 7.0)
    assert isinstance(arguments["guidance_scale"], float)


def test_overrides_and_settings_are_gathered(typical: Document) -> None:
    step = typical.bind().steps[0]
    assert step.pipeline is not None
    assert list(step.pipeline.components) == ["vae"]
    assert step.pipeline.components["vae"].configuration.component_type == "AutoencoderKL"
    assert step.pipeline.scheduler is not None
    assert step.pipeline.scheduler.scheduler_type == "FlowMatchEulerDiscreteScheduler"


def test_settings_of_the_vae_may_be_nested() -> None:
    nested = {"enable_slicing": True, "configuration": {"enable_tiling": True}}
    settings = {"component_type": "FluxPipeline", "vae": nested}
    step = parse(of_pipeline(configuration=settings)).bind().steps[0]
    assert step.pipeline is not None
    vae = step.pipeline.configuration.vae
    assert vae is not None
    assert vae.enable_slicing
    assert vae.enable_tiling


def test_dtypes_of_components_are_gathered() -> None:
    blocks = {
        "component_type": "FluxPipeline",
        "vae": {"torch_dtype": "torch.float32"},
        "text_encoder_2": {"torch_dtype": "torch.float16"},
        "unet": {},
    }
    step = parse(of_pipeline(configuration=blocks)).bind().steps[0]
    assert step.pipeline is not None
    assert step.pipeline.configuration.component_dtypes == {
        "vae": "torch.float32",
        "text_encoder_2": "torch.float16",
    }


def test_binding_changes_neither_the_document_nor_its_defaults(typical: Document) -> None:
    before = deepcopy(typical.data)
    bound = typical.bind({"sigmas": [0.9]})
    assert bound.steps[0].pipeline is not None
    bound.steps[0].pipeline.arguments["sigmas"].append(0.1)
    typical.bind().variables["sigmas"].append(0.2)
    assert typical.data == before
    assert typical.bind().variables["sigmas"] == [1.0, 0.5]


def test_a_bound_workflow_cannot_be_changed(typical: Document) -> None:
    bound = typical.bind()
    with pytest.raises(ValueError, match="frozen"):
        bound.seed = 5  # type: ignore[misc]


def test_images_are_handed_on_as_they_are() -> None:
    image = object()
    document = parse({**of_task(image="variable:image"), "variables": {"image": "a.png"}})
    (step,) = document.bind({"image": image}).steps
    assert step.task is not None
    assert step.task.arguments is not None
    assert step.task.arguments["image"] is image


def test_an_unknown_argument_is_named_with_the_nearest(typical: Document) -> None:
    with pytest.raises(UsageError) as caught:
        typical.bind({"promt": "a cat"})
    assert str(caught.value) == "FluxDev has no argument 'promt' (did you mean 'prompt'?)"
    assert caught.value.hints[0].startswith("its arguments are prompt, steps, guidance")


def test_a_workflow_without_arguments_says_so() -> None:
    with pytest.raises(UsageError) as caught:
        parse(workflow()).convert("prompt", "x")
    assert caught.value.hints == ("it has no arguments",)


def test_an_argument_of_the_wrong_type_is_an_error(typical: Document) -> None:
    with pytest.raises(UsageError, match="steps must be an integer, got 'abc'"):
        typical.bind({"steps": "abc"})


def test_convert_gives_the_declared_type(typical: Document) -> None:
    assert typical.convert("steps", "30") == 30
    assert typical.convert("image", "30") == "30"
    with pytest.raises(UsageError, match="guidance must be a number"):
        typical.convert("guidance", "high")


BAD_ARGUMENTS = [
    (
        {"seed": "x"},
        f"{SEEDS}, got 'x' (argument 'seed')",
        '"variable:seed"',
    ),
    (
        {"dtype": "fp16"},
        "'torch_dtype' must be a torch dtype, got 'fp16' "
        "(did you mean 'torch.float16'?) (argument 'dtype')",
        '"variable:dtype"',
    ),
    ({"scheduler": "Euler.Discrete"}, None, '"variable:scheduler"'),
    ({"model": ""}, "'model_name' must be a string, got '' (argument 'model')", '"variable:model"'),
    (
        {"prompt": "previous_result:gen"},
        "step 'gen' cannot use its own result (argument 'prompt')",
        '"variable:prompt"',
    ),
]


@pytest.mark.parametrize(("arguments", "message", "place"), BAD_ARGUMENTS)
def test_a_bad_argument_is_named_at_its_place_in_the_file(
    typical: Document, arguments: dict[str, Any], message: str | None, place: str
) -> None:
    (problem,) = refusal(typical, **arguments)
    line = typical.text.split("\n")[problem.line - 1]
    assert line[problem.column - 1 :].startswith(place)
    assert message is None or problem.message == message
    assert problem.message.endswith(f"(argument {next(iter(arguments))!r})")


def test_a_default_that_does_not_fit_is_named_as_an_argument() -> None:
    with pytest.raises(WorkflowError) as caught:
        parse(workflow(seed="variable:s", variables={"s": "five"}))
    assert caught.value.message == (f"{SEEDS}, got 'five' (argument 's')")


def test_what_a_null_default_leaves_open_is_reported_when_it_stays_open() -> None:
    loads = {"model_name": "variable:model"}
    document = parse({**of_pipeline(from_pretrained_arguments=loads), "variables": {"model": None}})
    (problem,) = refusal(document)
    assert problem.message == "'model_name' must be a string, got null (argument 'model')"
    assert document.bind({"model": "a/b"})


def test_a_whole_section_may_be_a_variables() -> None:
    document = parse({**of_pipeline(loras="variable:loras"), "variables": {"loras": None}})
    step = document.bind({"loras": [{"model_name": "a/b"}]}).steps[0]
    assert step.pipeline is not None
    assert step.pipeline.loras[0].model_name == "a/b"
    (problem,) = refusal(document, loras=[{"model_name": "a/b", "scal": 2}])
    assert problem.message == "unknown key 'scal' (did you mean 'scale'?) (argument 'loras')"


def test_later_stages_can_place_their_problems(typical: Document) -> None:
    at = ("steps", 0, "pipeline", "components", "vae", "configuration", "component_type")
    problem = typical.diagnostic_at(at, "is gone")
    line = typical.text.split("\n")[problem.line - 1]
    assert line[problem.column - 1 :].startswith('"AutoencoderKL"')
    assert str(problem) == f"w.json:{problem.line}:{problem.column}: error: is gone"


def test_a_problem_may_be_with_a_key(typical: Document) -> None:
    at = ("steps", 0, "pipeline", "arguments", "prompt")
    problem = typical.diagnostic_at(at, "unknown", "warning", key=True)
    line = typical.text.split("\n")[problem.line - 1]
    assert line[problem.column - 1 :].startswith('"prompt"')
    assert problem.severity == "warning"
    assert problem.message == "unknown (argument 'prompt')"


def test_the_models_describe_every_field_for_the_schema() -> None:
    schema = Workflow.model_json_schema()
    fields = [
        f for model in [schema, *schema["$defs"].values()] for f in model["properties"].values()
    ]
    assert all("description" in field for field in fields)


def test_models_can_be_made_without_a_file() -> None:
    component = {
        "configuration": {"component_type": "AutoencoderKL"},
        "from_pretrained_arguments": {},
    }
    data = workflow({"name": "a", "pipeline": pipeline(components={"vae": component})})
    step = Workflow.model_validate(data).steps[0]
    assert step.pipeline is not None
    assert list(step.pipeline.components) == ["vae"]


def median_ms(work: Any) -> float:
    times = []
    for _ in range(20):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000


def test_binding_costs_a_run_next_to_nothing(typical: Document) -> None:
    assert median_ms(lambda: typical.bind({"prompt": "a cat", "steps": 4})) < 2


def test_parsing_is_quick(typical: Document) -> None:
    assert median_ms(lambda: parse(TYPICAL, Path("w.json"))) < 20

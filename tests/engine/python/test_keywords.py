"""What `**kwargs` takes is found in the code, and the rest is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import transformers

from dw.engine.python.keywords import keywords, unknown_generation_argument
from tests.engine.session import Json, Session, text_to_image, workflow


def reads(**kwargs: Any) -> Any:
    if kwargs and "one" in kwargs:
        return kwargs.get("two"), kwargs.pop("three", None), kwargs["four"], list(kwargs.keys())
    return [key for key in kwargs if key not in kwargs.setdefault("five", ())]


def hands_on(**kwargs: Any) -> Any:
    return kwargs.pop("one"), reads(**kwargs)


def looks_up(name: str, **kwargs: Any) -> Any:
    return kwargs.get("one"), kwargs[name]


def ignores(**_: Any) -> None: ...


def takes_none(one: int) -> int:
    return one


WITHOUT_SOURCE = eval("lambda **kwargs: kwargs['one']")


@pytest.mark.parametrize(
    ("function", "names", "are_all"),
    [
        (hands_on, {"one"}, False),
        (looks_up, {"one"}, False),
        (ignores, set(), True),
        (takes_none, set(), True),
        (WITHOUT_SOURCE, set(), False),
    ],
)
def test_what_is_read_is_taken(
    function: Callable[..., Any], names: set[str], are_all: bool
) -> None:
    assert keywords(function) == (names, are_all)


def test_every_way_to_read_counts() -> None:
    assert keywords(reads) == ({"one", "two", "three", "four", "five"}, True)


def messages(session: Session, document: Json) -> list[str]:
    return [problem.message for problem in session.engine.check(session.document(document))]


def called(pipeline: str, name: str) -> Json:
    configuration = {"component_type": pipeline}
    return text_to_image("any/model", configuration=configuration, arguments={name: 1})


@pytest.mark.parametrize(
    ("pipeline", "name"),
    [
        ("StableDiffusionPipeline", "callback_steps"),
        ("PixArtAlphaPipeline", "mask_feature"),
        ("KandinskyV22InpaintCombinedPipeline", "anything"),  # it hands on what it does not know
    ],
)
def test_what_the_code_of_a_call_reads_is_taken(warm: Session, pipeline: str, name: str) -> None:
    assert messages(warm, called(pipeline, name)) == []


def test_what_the_code_of_a_call_does_not_read_is_refused(warm: Session) -> None:
    [message] = messages(warm, called("StableDiffusionPipeline", "odd"))
    assert message.startswith("StableDiffusionPipeline takes no argument 'odd'; it takes prompt, ")
    assert message.endswith(", guidance_rescale, clip_skip")


def test_what_is_handed_on_is_refused_where_it_is_misspelt(warm: Session) -> None:
    [message] = messages(warm, called("KandinskyV22InpaintCombinedPipeline", "promt"))
    assert message.endswith("takes no argument 'promt' (did you mean 'prompt'?)")


def of_transformers(
    component_type: str, loads: Json | None = None, arguments: Json | None = None
) -> Json:
    pipeline = {
        "configuration": {"component_type": f"transformers.{component_type}", "generate": True},
        "from_pretrained_arguments": {"model_name": "any/model", **(loads or {})},
        "arguments": arguments or {},
    }
    return workflow({"name": "write", "pipeline": pipeline})


@pytest.mark.parametrize(
    ("component_type", "loads", "arguments"),
    [
        ("Qwen2ForCausalLM", {"attn_implementation": "sdpa", "sliding_window": 9}, {}),
        ("Qwen2ForCausalLM", {"torch_dtype": "torch.bfloat16", "low_cpu_mem_usage": True}, {}),
        ("Qwen2ForCausalLM", {}, {"max_new_tokens": 5, "logits_to_keep": 1, "streamer": None}),
        ("Qwen2_5_VLForConditionalGeneration", {}, {"pixel_values": [], "num_beams": 2}),
        ("T5ForConditionalGeneration", {}, {"anything": 1}),  # of its encoder or its decoder
        ("AutoModelForCausalLM", {"anything": 1}, {"anything": 1}),  # its class is not known
    ],
)
def test_what_a_model_of_transformers_takes(
    warm: Session, component_type: str, loads: Json, arguments: Json
) -> None:
    assert messages(warm, of_transformers(component_type, loads, arguments)) == []


@pytest.mark.parametrize(
    ("loads", "arguments", "message"),
    [
        (
            {"atn_implementation": "sdpa"},
            {},
            "the loader takes no 'atn_implementation' (did you mean 'attn_implementation'?)",
        ),
        (
            {"safety": 1},
            {},
            "the loader takes no 'safety'; beside its options it takes the settings of Qwen2Config",
        ),
        (
            {},
            {"max_new_tokns": 5},
            "generate takes no argument 'max_new_tokns' (did you mean 'max_new_tokens'?)",
        ),
        (
            {},
            {"qqq": 5},
            "generate takes no argument 'qqq'; its settings are those of GenerationConfig",
        ),
    ],
)
def test_what_a_model_of_transformers_does_not_take(
    warm: Session, loads: Json, arguments: Json, message: str
) -> None:
    assert messages(warm, of_transformers("Qwen2ForCausalLM", loads, arguments)) == [message]


def test_a_model_that_writes_nothing(warm: Session) -> None:
    assert messages(warm, of_transformers("DPTForDepthEstimation")) == [
        "DPTForDepthEstimation has no 'generate'"
    ]


def writing(**settings: Any) -> Json:
    arguments = {"prompt": "a", "generate_kwargs": settings}
    task = {"command": "text_generation", "arguments": arguments}
    return workflow({"name": "write", "task": task})


def test_the_settings_of_a_command_that_writes(warm: Session) -> None:
    assert messages(warm, writing(num_beams=2, do_sample=True)) == []
    document = writing(max_new_tokns=2)
    [problem] = warm.engine.check(warm.document(document))
    message = "generate takes no argument 'max_new_tokns' (did you mean 'max_new_tokens'?)"
    assert problem.message == message
    line = json.dumps(document, indent=1).split("\n")[problem.line - 1]
    assert line[problem.column - 1 :].startswith('"max_new_tokns"')


def test_settings_that_a_result_brings_are_judged_in_the_run(session: Session) -> None:
    brings = {"name": "tell", "task": {"command": "gather_inputs", "inputs": [{"num_beems": 2}]}}
    [write] = writing()["steps"]
    write["task"]["arguments"]["generate_kwargs"] = "previous_result:tell"
    error = session.fail(workflow(brings, write), rehearse=True)
    assert error.message == "generate takes no argument 'num_beems' (did you mean 'num_beams'?)"


def test_a_model_with_a_generate_of_its_own_takes_what_that_takes() -> None:
    cls = transformers.PatchTSMixerForRegression
    assert unknown_generation_argument("past_values", cls) is None
    message = unknown_generation_argument("prompt", cls)
    assert message is not None
    assert message.startswith("PatchTSMixerForRegression.generate takes no argument 'prompt'")

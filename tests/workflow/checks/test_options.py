"""Arguments that lead to code, files or addresses are reported before anything is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from dw.types import Permissions
from dw.workflow.checks import options
from dw.workflow.checks.options import _CODE, _FILES, option_error, option_errors, values_in
from dw.workflow.loading import validate_text
from tests.workflow.samples import messages, of_pipeline, parse, workflow

MODEL = {"model_name": "some/model"}


def problems(data: dict[str, Any], *, trust: bool = False) -> list[str]:
    """The messages of all problems, if any."""
    permissions = Permissions(trust=trust)
    found = validate_text(json.dumps(data), Path("w.json"), permissions=permissions)
    return [each.message for each in found.problems]


def loading(**arguments: Any) -> dict[str, Any]:
    return of_pipeline(from_pretrained_arguments={**MODEL, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"custom_pipeline": "./mine"},
            "'custom_pipeline' would run the pipeline './mine'; the setting 'trust' allows it",
        ),
        (
            {"trust_remote_code": True},
            "'trust_remote_code' would run the code that comes with the model; "
            "the setting 'trust' allows it",
        ),
    ],
)
def test_it_needs_trust(arguments: dict[str, Any], message: str) -> None:
    assert messages(loading(**arguments)) == [message]
    assert parse(loading(**arguments), permissions=Permissions(trust=True))


def test_that_of_a_component_does_too() -> None:
    component = {
        "configuration": {"component_type": "transformers.AutoModel"},
        "from_pretrained_arguments": {"model_name": "a/b", "trust_remote_code": True},
    }
    message = (
        "'trust_remote_code' would run the code that comes with the model; "
        "the setting 'trust' allows it"
    )
    assert messages(of_pipeline(text_encoder=component)) == [message]


def test_an_argument_cannot_bring_it_in() -> None:
    data = loading(custom_pipeline="variable:code") | {"variables": {"code": None}}
    document = parse(data)
    assert document.bind()
    with pytest.raises(Exception, match="would run the pipeline 'x'"):
        document.bind({"code": "x"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"custom_pipeline": 5}, "'custom_pipeline' must be a string, got 5"),
        ({"trust_remote_code": "yes"}, "'trust_remote_code' must be true or false, got 'yes'"),
    ],
)
def test_its_value_is_judged(arguments: dict[str, Any], message: str) -> None:
    assert messages(loading(**arguments)) == [message]


@pytest.mark.parametrize("nothing", [None, False])
def test_a_value_that_asks_for_nothing_is_accepted(nothing: Any) -> None:
    assert parse(loading(custom_pipeline=None, trust_remote_code=nothing))


TRUST = "; the setting 'trust' allows it"
TRANSFORMERS = {"component_type": "transformers.AutoModelForCausalLM"}


def places(name: str, value: Any) -> dict[str, dict[str, Any]]:
    """A workflow for each place where arguments stand, with one of this name in it."""
    given = {name: value}
    quantization = {"configuration": {"config_type": "BitsAndBytesConfig"}, "arguments": given}
    component = {
        "configuration": {"component_type": "transformers.CLIPTextModel"},
        "from_pretrained_arguments": {"model_name": "a/b", **given},
    }
    task = {"name": "t", "task": {"command": "text_generation", "arguments": {"prompt": "x"}}}
    task["task"]["arguments"]["generate_kwargs"] = given  # type: ignore[index]
    echo = {"name": "t", "task": {"command": "gather_inputs", "inputs": [given]}}
    loads = {"from_pretrained_arguments": {**MODEL, **given}}
    return {
        "pipeline": of_pipeline(**loads),
        "transformers": of_pipeline(configuration=TRANSFORMERS, **loads),
        "component": of_pipeline(text_encoder=component),
        "call": of_pipeline(arguments=given),
        "nested in a call": of_pipeline(arguments={"a": [{"b": given}]}),
        "object": of_pipeline(
            arguments={"x": {"x_type": "transformers.GenerationConfig", "from_arguments": given}}
        ),
        "quantization": of_pipeline(quantization_config=quantization),
        "scheduler": of_pipeline(
            scheduler={
                "configuration": {"scheduler_type": "DDIMScheduler"},
                "from_config_args": given,
            }
        ),
        "generate": workflow(task),
        "task": workflow(echo),
    }


PLACES = tuple(places("", None))
REFUSED: list[tuple[str, Any]] = [
    *((name, "org/name") for name in sorted(_CODE)),
    *((name, True) for name in ("allow_all_kernels", "use_kernels", "trust_remote_code")),
    *((name, "x") for name in sorted(_FILES)),
    ("custom_pipeline", "x"),
    ("attn_implementation", "org/name"),
    ("attn_implementation", {"text_config": "org/name:function"}),
    ("attn_implementation", "paged|org/name"),
    ("experts_implementation", "sonicmoe"),
    ("attention_backend", "flash_hub"),
    ("device_map", "disk"),
    ("device_map", {"": "disk"}),
    ("device_map", {"layers.0": {"a": "cpu"}}),
    ("variant", "../fp16"),
    ("variant", "a/b"),
    ("variant", 5),
    ("revision", "../../x"),
    ("revision", "/x"),
    ("revision", "refs//x"),
    ("subfolder", "../x"),
    ("subfolder", "a/../../x"),
    ("subfolder", "/etc"),
    ("subfolder", "~/x"),
    ("subfolder", "a\\..\\x"),
    ("subfolder", "C:x"),
    ("weight_name", "../x.safetensors"),
    ("filename", "/x.safetensors"),
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("name", "value"), REFUSED, ids=str)
def test_an_option_is_judged_in_every_place_alike(place: str, name: str, value: Any) -> None:
    found = [text for text in problems(places(name, value)[place]) if repr(name) in text]
    assert found
    trusted = problems(places(name, value)[place], trust=True)
    assert not {text for text in trusted if TRUST in text}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("attn_implementation", "sdpa"),
        ("attn_implementation", {"text_config": "eager", "vision_config": None}),
        ("experts_implementation", "grouped_mm"),
        ("device_map", "auto"),
        ("device_map", {"": "cuda:1", "layers.0": 0}),
        ("max_memory", {"0": "10GB", "cpu": 5}),
        ("variant", "fp16"),
        ("revision", "refs/pr/3"),
        ("revision", "v1.0"),
        ("subfolder", "a/b"),
        ("subfolder", ""),
        ("weight_name", "x.v1.safetensors"),
        ("use_kernels", False),
        ("custom_generate", None),
    ],
)
def test_what_only_tunes_is_accepted(name: str, value: Any) -> None:
    assert option_error(name, value) is None


SETTINGS: list[tuple[str, Any]] = [
    ("use_fast", False),
    ("padding_side", "left"),
    ("num_labels", 3),
    ("hidden_act", "gelu_new"),
    ("size", {"height": 224, "width": 224}),
    ("additional_special_tokens", ["a", "b c"]),
    ("torch_dtype", "torch.float16"),
    ("chat_template", "{{ messages }} http://x/"),
    ("cache_dir", "./hub"),
    ("batch_size", "variable:x"),
]
NO_SETTINGS: list[tuple[str, Any]] = [
    ("_from_auto", True),
    ("_commit_hash", "x"),
    ("config", "./x"),
    ("config", {"a": 1}),
    ("tokenizer", "a"),
    ("processor", "a/b"),
    ("generation_config", "x"),
    ("backbone", "org/name"),
    ("name", "http://127.0.0.1/"),
    ("name", ".."),
    ("name", "a\\b"),
    ("name", "$HOME"),
    ("name", "a\0b"),
    ("name", ["fine", "/etc/passwd"]),
    ("some_file", "word"),
    ("some_url", "word"),
    ("some", {"inner_path": "word"}),
    ("model_kwargs", {"config": "a"}),
    ("model_kwargs", {"_fast_init": 1}),
    ("name", "x" * 201),
]


def of_transformers(name: str, value: Any) -> dict[str, Any]:
    loads = {**MODEL, name: value}
    return of_pipeline(configuration=TRANSFORMERS, from_pretrained_arguments=loads)


@pytest.mark.parametrize(("name", "value"), SETTINGS, ids=str)
def test_a_setting_goes_to_the_loader_of_transformers(name: str, value: Any) -> None:
    assert not [text for text in problems(of_transformers(name, value)) if TRUST in text]


@pytest.mark.parametrize(("name", "value"), NO_SETTINGS, ids=str)
def test_what_is_more_than_a_setting_does_not(name: str, value: Any) -> None:
    assert [text for text in problems(of_transformers(name, value)) if text.endswith(TRUST)]
    trusted = problems(of_transformers(name, value), trust=True)
    assert not [text for text in trusted if TRUST in text]


def compiled(**options: Any) -> dict[str, Any]:
    return of_pipeline(
        configuration={"component_type": "X", "components": {"unet": {"compile": options}}}
    )


@pytest.mark.parametrize(
    "options",
    [
        {"backend": "tvm"},
        {"backend": "a.b"},
        {"mode": "x"},
        {"options": {"cpp.cxx": ["x"]}},
        {"options": {"trace.enabled": True}},
    ],
)
def test_a_compiler_is_only_tuned(options: dict[str, Any]) -> None:
    assert [text for text in problems(compiled(**options)) if text.endswith(TRUST)]


def test_an_option_of_the_compiler_is_a_number() -> None:
    found = problems(compiled(options={"max_autotune": "x"}))
    assert "'max_autotune' must be true, false or a number, got 'x'" in found


@pytest.mark.parametrize(
    "options",
    [
        {"backend": "inductor", "mode": "max-autotune"},
        {"options": {"triton.cudagraphs": True, "max_autotune": 1}},
        {"fullgraph": True, "dynamic": False},
    ],
)
def test_a_compiler_may_be_tuned(options: dict[str, Any]) -> None:
    assert not [text for text in problems(compiled(**options)) if TRUST in text]


@pytest.mark.parametrize(
    "arguments",
    [
        {"a": ({"custom_generate": "x"},)},
        {"a": MappingProxyType({"use_kernels": True})},
        [{"attn_implementation": "org/name"}],
    ],
)
def test_values_of_a_call_are_judged_at_any_depth(arguments: Any) -> None:
    assert len(list(option_errors(arguments))) == 1


def test_every_value_of_a_call_is_seen() -> None:
    assert list(values_in({"a": [1, (2,)]}))[2:] == [1, (2,), 2]


def test_flash_attention_is_not_taken_from_a_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    for installed, is_allowed in (({"kernels"}, False), (set(), True), ({"flash_attn"}, True)):
        monkeypatch.setattr(options, "is_installed", installed.__contains__)
        error = option_error("attn_implementation", "flash_attention_2")
        assert (error is None) == is_allowed


@pytest.mark.parametrize(
    ("text", "is_plain"),
    [("{default}", True), ("{a/b}", False), ("{{default}}", False), ("{..}", False)],
)
def test_a_text_in_braces_among_nested_options_is_what_is_in_them(
    text: str, is_plain: bool
) -> None:
    rope = {"rope_type": text, "rope_theta": 10000.0}
    given = loading(rope_parameters=rope)
    given["steps"][0]["pipeline"]["configuration"] = TRANSFORMERS
    assert [each for each in problems(given) if "plain setting" in each] == (
        [] if is_plain else [f"'rope_type' must be a plain setting, got {text!r}{TRUST}"]
    )
    given = loading(rope_parameters={"name": text})
    given["steps"][0]["pipeline"]["configuration"] = TRANSFORMERS
    assert [each for each in problems(given) if "plain setting" in each]

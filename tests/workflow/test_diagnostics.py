"""What is wrong in a document, each with its place and its words. `¶` marks the place."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dw.errors import WorkflowError
from dw.types import Permissions
from dw.workflow import Diagnostic, parse_document
from dw.workflow.json_path import walk
from tests.workflow.samples import (
    DRAWN,
    PATH,
    SEEDS,
    messages,
    of_pipeline,
    of_task,
    parse,
    pipeline,
    problems,
    unmarked,
    workflow,
)

CONFIGURATION = '"configuration": {"component_type": "FluxPipeline"'
LOADS = '"from_pretrained_arguments": {"model_name": "a/b"'
TASK = '{"name": "a", "task": {"command": "x"}}'
CALL = '"arguments": {"prompt": "a fox"'


def steps(*each: str) -> str:
    return (
        '{"id": "w", "variables": {"steps": 25, "n": null},\n"steps": [\n' + ",\n".join(each) + "]}"
    )


def pipe(*, configuration: str = "", loads: str = "", call: str = "", more: str = "") -> str:
    """A document whose one pipeline has this text more at the end of its parts."""
    parts = f"{CONFIGURATION}{configuration}}},\n{LOADS}{loads}}},\n{CALL}{call}}}{more}"
    return steps(f'{{"name": "gen", "pipeline": {{\n{parts}}}}}')


def task(arguments: str, name: str = "t") -> str:
    return f'{{"name": "{name}", "task": {{"command": "crop_square", "arguments": {arguments}}}}}'


SHAPE = [
    ("¶[]", "the workflow must be an object, got []"),
    ("¶{}", "the workflow needs 'id'"),
    ('¶{"id": "w"}', "the workflow needs 'steps'"),
    ('{"id": "w", "steps": ¶[]}', "'steps' needs at least one item"),
    ('{"id": "w", "steps": ¶{}}', "'steps' must be a list, got {}"),
    ('{"id": "w", "steps": [¶5]}', "'steps[0]' must be an object, got 5"),
    (
        '{"id": "w", "steps": [¶{"name": "a"}]}',
        "a step needs one of 'pipeline', 'pipeline_reference', 'task', 'comfyui', 'workflow'",
    ),
    (steps('¶{"task": {"command": "x"}}'), "'steps[0]' needs 'name'"),
    (steps('{"name": ¶"", "task": {"command": "x"}}'), "'name' cannot be empty"),
    (
        steps('{"name": ¶"a/b", "task": {"command": "x"}}'),
        "'name' is part of a file name and cannot hold / or \\, got 'a/b'",
    ),
    (
        steps('{"name": ¶"..", "task": {"command": "x"}}'),
        "'name' is part of a file name and cannot hold / or \\, got '..'",
    ),
    (steps('{"name": "a", "seed": ¶"5", "task": {"command": "x"}}'), f"{SEEDS}, got '5'"),
    (steps('{"name": "a", "seed": ¶5.0, "task": {"command": "x"}}'), f"{SEEDS}, got 5.0"),
    (steps('{"name": "a", "seed": ¶true, "task": {"command": "x"}}'), f"{SEEDS}, got true"),
    (steps('{"name": "a", "task": ¶{}}'), "'task' needs 'command'"),
    (
        steps('{"name": "a", "task": {"command": ¶["x"]}}'),
        "'command' must be a string, got [\"x\"]",
    ),
    (
        steps('{"name": "a", "task": {"command": "x", "arguments": {}, ¶"inputs": []}}'),
        "a task takes 'arguments' or 'inputs', not both",
    ),
    (
        steps('{"name": "a", "task": {"command": "x"}, ¶"workflow": {"path": "b"}}'),
        "a step has one action: 'task' is given, so 'workflow' is not allowed",
    ),
    (
        steps(f'{{"name": "g", "pipeline": ¶{{{CONFIGURATION}}}, {CALL}}}}}}}'),
        "'pipeline' needs 'from_pretrained_arguments'",
    ),
    (
        pipe(configuration=', "offload": ¶"modell"'),
        "'offload' must be one of 'model', 'sequential', got 'modell' (did you mean 'model'?)",
    ),
    (
        pipe(configuration=', "offload": ¶true'),
        "'offload' must be one of 'model', 'sequential', got true",
    ),
    (
        pipe(configuration=', "device": ¶"gpu"'),
        "'device' must be auto, cpu, mps, cuda or cuda:N, got 'gpu'",
    ),
    (
        pipe(configuration=', "no_generator": ¶"yes"'),
        "'no_generator' must be true or false, got 'yes'",
    ),
    (
        pipe(
            configuration=', "enable_attention_slicing": true, ¶"disable_attention_slicing": true'
        ),
        "'enable_attention_slicing' and 'disable_attention_slicing' exclude each other",
    ),
    (
        pipe(configuration=', "vae": {"enable_tiling": ¶1}'),
        "'enable_tiling' must be true or false, got 1",
    ),
    (
        pipe(configuration=', "vae": {"configuration": {"enable_tiling": ¶1}}'),
        "'enable_tiling' must be true or false, got 1",
    ),
    (
        pipe(loads=', ¶"from_single_file": "a.safetensors"'),
        "a model comes from one source: 'model_name' is given, "
        "so 'from_single_file' is not allowed",
    ),
    (
        pipe(
            more=', "vae": {"configuration": {"component_type": "AutoencoderKL"}, '
            '"from_pretrained_arguments": {"model_name": ¶5}}'
        ),
        "'model_name' must be a string, got 5",
    ),
    (pipe(more=', "vae": ¶5'), "'vae' must be an object, got 5"),
    (
        pipe(more=', "vae": ¶{"configuration": {"component_type": "AutoencoderKL"}}'),
        "'vae' needs 'from_pretrained_arguments'",
    ),
    (
        pipe(more=', "processor": {"configuration": ¶{}, "from_pretrained_arguments": {}}'),
        "'configuration' needs 'component_type'",
    ),
    (pipe(more=', "scheduler": ¶{}'), "a scheduler needs 'configuration' or 'shift'"),
    (pipe(more=', "scheduler": {"shift": ¶0}'), "'shift' must be above 0, got 0"),
    (pipe(more=', "scheduler": {"configuration": ¶{}}'), "'configuration' needs 'scheduler_type'"),
    (
        pipe(more=', "loras": ¶{"model_name": "a/b"}'),
        '\'loras\' must be a list, got {"model_name": "a/b"}; '
        'write "loras": [{"model_name": "a/b"}]',
    ),
    (pipe(more=', "loras": [{"model_name": "a/b"}, ¶{}]'), "'loras[1]' needs 'model_name'"),
    (
        pipe(more=', "loras": [{"model_name": "a/b", "scale": ¶"big"}]'),
        "'scale' must be a number, got 'big'",
    ),
    (
        pipe(more=', "loras": [{"model_name": "a/b", "scale": ¶"nan"}]'),
        "'scale' must be a finite number, got 'nan'",
    ),
    (
        pipe(
            more=', "vae": {"configuration": {"component_type": "AutoencoderKL"}, '
            '"from_pretrained_arguments": ¶{"torch_dtype": "torch.float16"}}'
        ),
        "a component needs 'model_name' or 'from_single_file'",
    ),
    (pipe(more=', "seed": ¶-1'), f"{SEEDS}, got -1{DRAWN}"),
    (pipe(more=f', "seed": ¶{2**32 + 7}'), f"{SEEDS}, got {2**32 + 7}; 7 draws the same"),
    (
        pipe(more='}, "result": {"content_type": ¶"image/jpg"'),
        "'content_type' cannot be 'image/jpg' (did you mean 'image/jpeg'?)",
    ),
    (pipe(more='}, "result": ¶{"save": true'), "'result' needs 'content_type'"),
    (
        pipe(more='}, "result": {"content_type": "video/mp4", "fps": ¶0'),
        "'fps' must be above 0, got 0",
    ),
    (
        pipe(more='}, "result": {"content_type": "image/png", "file_base_name": ¶"../x"'),
        "'file_base_name' is part of a file name and cannot hold / or \\, got '../x'",
    ),
    (
        '{"id": "w", "variables": ¶[], "steps": [' + TASK + "]}",
        "'variables' must be an object, got []",
    ),
    (
        '{"id": "w", "variables": {¶"my prompt": 1}, "steps": [' + TASK + "]}",
        "a variable is named by letters, digits, '_' and '-', got 'my prompt'",
    ),
]

KEYS = [
    (pipe(configuration=', ¶"ofload": "model"'), "unknown key 'ofload' (did you mean 'offload'?)"),
    (pipe(more=', ¶"components": {}'), "'components' goes inside 'configuration'"),
    (pipe(more=', ¶"transfomer": {}'), "unknown key 'transfomer' (did you mean 'transformer'?)"),
    (pipe(more=', ¶"schedular": {}'), "unknown key 'schedular' (did you mean 'scheduler'?)"),
    (
        pipe(more=', "loras": [{"model_name": "a/b", ¶"scal": 1}]'),
        "unknown key 'scal' (did you mean 'scale'?)",
    ),
    (
        steps('{"name": "a", "task": {¶"comand": "x"}}'),
        "unknown key 'comand' (did you mean 'command'?)",
    ),
    ('{¶"Steps": [], "id": "w"}', "unknown key 'Steps' (did you mean 'steps'?)"),
    (
        pipe(configuration=', "vae": {"configuration": {¶"tile": true}}'),
        "unknown key 'tile'; known are channels_last, enable_slicing, enable_tiling, torch_dtype",
    ),
    (
        '{"id": "w", ¶"id": "v", "steps": [' + TASK + "]}",
        "'id' is given twice",
    ),
    (
        pipe(loads=', ¶"quantization_config": {"a": 1}'),
        "'quantization_config' goes beside 'from_pretrained_arguments'",
    ),
]


REFERENCES = [
    (
        pipe(call=', "num_inference_steps": ¶"variable:stpes"'),
        "unknown variable 'stpes' (did you mean 'steps'?)",
    ),
    (
        pipe(call=', "width": ¶"variable:width"'),
        "unknown variable 'width'; declared are steps, n",
    ),
    (pipe(call=', "width": ¶"variable:"'), "unknown variable ''; declared are steps, n"),
    (
        '{"id": ¶"variable:n", "variables": {"n": "w"}, "steps": [' + TASK + "]}",
        "'id' cannot be a variable",
    ),
    (
        '{"id": "w", "variables": {"a": "b", "c": ¶"variable:a"}, "steps": [' + TASK + "]}",
        "'c' cannot be a variable",
    ),
    (steps('{"name": ¶"variable:n", "task": {"command": "x"}}'), "'name' cannot be a variable"),
    (steps('{"name": "a", "workflow": {"path": ¶"variable:n"}}'), "'path' cannot be a variable"),
    (
        steps(task('{"image": ¶"previous_result:gne"}', "a"), task("{}", "gen")),
        "unknown step 'gne' (did you mean 'gen'?)",
    ),
    (
        steps(task("{}", "gen"), task('{"image": ¶"previous_result:gem.mask"}')),
        "unknown step 'gem.mask' (did you mean 'gen'?)",
    ),
    (
        steps(task('{"image": ¶"previous_result:b"}', "a"), task("{}", "b")),
        "step 'b' runs after step 'a'; its result does not exist yet",
    ),
    (
        steps(task('{"image": ["x.png", ¶"previous_result:a"]}', "a")),
        "step 'a' cannot use its own result",
    ),
    (steps(task("{}", "a"), task("{}").replace('"t"', '¶"a"')), "there are two steps called 'a'"),
    (
        steps(task("{}", "a")[:-1] + ', "result": {"content_type": ¶"previous_result:a"}}'),
        "'content_type' cannot be a result: only 'arguments' and 'inputs' take results",
    ),
    (
        pipe(loads=', "variant": ¶"previous_result:gen"'),
        "'variant' cannot be a result: only 'arguments' and 'inputs' take results",
    ),
]

CLASSES = [
    (
        pipe().replace('"FluxPipeline"', '¶"FluxPipline"'),
        "'component_type': diffusers has no class 'FluxPipline' (did you mean 'FluxPipeline'?)",
    ),
    (
        pipe().replace('"FluxPipeline"', '¶"Xyzzy"'),
        "'component_type': diffusers has no class 'Xyzzy'; "
        "one of another package is written 'transformers.Xyzzy'",
    ),
    (
        pipe().replace('"FluxPipeline"', '¶"diffusers.FluxPipline"'),
        "'component_type': diffusers has no class 'FluxPipline' (did you mean 'FluxPipeline'?)",
    ),
    (
        pipe().replace('"FluxPipeline"', '¶"not a name"'),
        "'component_type' must name a class, got 'not a name'",
    ),
    (
        pipe().replace('"FluxPipeline"', '¶"{FluxPipeline}"'),
        "'component_type' must name a class, got '{FluxPipeline}'",
    ),
    (
        pipe(more=', "scheduler": {"configuration": {"scheduler_type": ¶"EulerDiscreteSheduler"}}'),
        "'scheduler_type': diffusers has no class 'EulerDiscreteSheduler' "
        "(did you mean 'EulerDiscreteScheduler'?)",
    ),
    (
        pipe(loads=', "torch_dtype": ¶"float16"'),
        "'torch_dtype' must be a torch dtype, got 'float16' (did you mean 'torch.float16'?)",
    ),
    (
        pipe(loads=', "torch_dtype": ¶"fp16"'),
        "'torch_dtype' must be a torch dtype, got 'fp16' (did you mean 'torch.float16'?)",
    ),
    (
        pipe(loads=', "torch_dtype": ¶"torch.bf16"'),
        "'torch_dtype' must be a torch dtype, got 'torch.bf16' (did you mean 'torch.bfloat16'?)",
    ),
    (
        pipe(loads=', "torch_dtype": ¶"torch.flaot16"'),
        "'torch_dtype' must be a torch dtype, got 'torch.flaot16' (did you mean 'torch.float16'?)",
    ),
    (
        pipe(loads=', "torch_dtype": ¶"brain"'),
        "'torch_dtype' must be a torch dtype such as torch.bfloat16, got 'brain'",
    ),
    (
        pipe(configuration=', "vae": {"torch_dtype": ¶"os.float32"}'),
        "'torch_dtype' must be a torch dtype, got 'os.float32' (did you mean 'torch.float32'?)",
    ),
    (
        pipe(call=', "output_type": ¶"latent"'),
        "'output_type': diffusers has no class 'latent'; a plain string is written '{latent}'",
    ),
]


@pytest.mark.parametrize(("marked", "message"), [*SHAPE, *KEYS, *REFERENCES, *CLASSES])
def test_a_problem_has_its_place_and_its_words(marked: str, message: str) -> None:
    text, line, column = unmarked(marked)
    found = problems(text)
    assert f"{PATH}:{line}:{column}: error: {message}" in map(str, found), "\n".join(
        map(str, found)
    )


def test_all_problems_are_reported_at_once_in_the_order_of_the_file() -> None:
    data = of_pipeline(
        configuration={"component_type": "FluxPipline", "ofload": "model"},
        from_pretrained_arguments={"model_name": "a/b", "torch_dtype": "fp16"},
        arguments={"prompt": "variable:promt", "image": "previous_result:nobody"},
        loras=[{"model_name": "a/b", "scale": "big"}],
    )
    found = problems(json.dumps(data, indent=1))
    assert len(found) == 6
    assert [each.line for each in found] == sorted(each.line for each in found)


def test_one_problem_is_the_message_of_the_error() -> None:
    with pytest.raises(WorkflowError) as caught:
        parse({"id": 5, "steps": workflow()["steps"]})
    assert str(caught.value) == "w.json:2:8: 'id' must be a string, got 5"
    assert caught.value.exit_code == 3


def test_several_problems_are_counted() -> None:
    with pytest.raises(WorkflowError) as caught:
        parse({})
    assert str(caught.value) == "w.json: 2 problems"
    assert len(caught.value.problems) == 2


def test_a_note_in_the_file_is_a_warning() -> None:
    document = parse(workflow(notes="tuned by hand", author="me"))
    assert [str(each) for each in document.warnings] == [
        "w.json:19:2: warning: unknown key 'notes' is ignored",
        "w.json:20:2: warning: unknown key 'author' is ignored",
    ]


def test_editors_and_comments_may_have_keys_of_their_own() -> None:
    assert parse(workflow(**{"$schema": "x.json", "_comment": "hi"})).warnings == ()


ACCEPTED = [
    of_pipeline(configuration={"component_type": "diffusers.FluxPipeline"}),
    of_pipeline(configuration={"component_type": "transformers.AnythingGoes"}),
    of_pipeline(configuration={"component_type": "FluxPipeline", "device": "cuda:1"}),
    of_pipeline(configuration={"component_type": "FluxPipeline", "device": None}),
    of_pipeline(from_pretrained_arguments={"torch_dtype": "torch.bfloat16"}),
    of_pipeline(from_pretrained_arguments={"torch_dtype": "{auto}"}),
    of_pipeline(arguments={"output_type": "{latent}", "content_type": "x", "media_type": "image"}),
    of_pipeline(arguments={"prompt": "constant: a hum", "negative_prompt": "variable: weather"}),
    of_pipeline(arguments={"from_file": "no type beside it"}),
    of_pipeline(scheduler={"shift": 3}),
    of_pipeline(scheduler=None, loras=[]),
    of_pipeline(vae=None),
    of_pipeline(transformer_2=pipeline(), text_encoder_4=pipeline()),
    workflow({"name": "a b.c-1", "task": {"command": "x", "inputs": [{"a": 1}]}}),
    workflow(seed=2**32 - 1),
    workflow(seed=0),
]


@pytest.mark.parametrize("data", ACCEPTED)
def test_what_the_format_has_is_accepted(data: dict[str, Any]) -> None:
    for override in ("transformer_2", "text_encoder_4"):
        data["steps"][0].get("pipeline", {}).get(override, {}).pop("arguments", None)
    assert parse(data).warnings == ()


def test_a_step_is_meant_by_its_longest_name() -> None:
    steps = [{"name": n, "task": {"command": "x"}} for n in ("a", "a.b")]
    last = {
        "name": "c",
        "task": {"command": "x", "arguments": {"image": "previous_result:a.b.mask"}},
    }
    assert parse(workflow(*steps, last))


def test_an_unknown_package_is_named_and_trust_allows_it() -> None:
    data = of_pipeline(configuration={"component_type": "subprocess.check_output"})
    assert messages(data) == [
        "'component_type' would import 'subprocess.check_output', which is not in the known "
        "packages (accelerate, bitsandbytes, controlnet_aux, diffusers, gguf, optimum, peft, sdnq, "
        "torch, torchao, transformers); the setting 'trust' allows it"
    ]
    assert parse(data, permissions=Permissions(trust=True))


def test_a_known_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dw.extras.is_installed", lambda package: False)
    assert messages(of_pipeline(configuration={"component_type": "sdnq.Pipeline"})) == [
        "'sdnq.Pipeline' needs the package 'sdnq', which is not installed: pip install 'dw[sdnq]'"
    ]


def test_without_diffusers_its_names_are_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dw.workflow.checks.classes.diffusers_names", frozenset)
    assert parse(of_pipeline(configuration={"component_type": "Whatever"}))


# ------------------------------------------------------------------ anything at all

FULL = of_pipeline(
    configuration={"component_type": "FluxPipeline", "vae": {"configuration": {}}, "unet": {}},
    arguments={"prompt": "variable:p", "images": ["previous_result:gen", {"location": "a.png"}]},
    scheduler={"configuration": {"scheduler_type": "EulerDiscreteScheduler"}, "shift": 1.5},
    loras=[{"model_name": "a/b", "scale": 0.5}],
    vae={"configuration": {"component_type": "AutoencoderKL"}, "from_pretrained_arguments": {}},
) | {"variables": {"p": None, "q": [1]}, "seed": 5}
FULL["steps"] += of_task(image="a.png")["steps"]
FULL["steps"].append({"name": "s", "workflow": {"path": "nowhere.json", "arguments": {"a": 1}}})
PLACES = [path for path, _ in walk(FULL)]

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=3)
    | st.sampled_from(
        [
            *("variable:p", "variable:z", "previous_result:gen", "gen", "constant:torch.pi"),
            *("torch.float16", "../x", "name", "image", "FluxPipeline", "\0"),
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("name", "pipeline", "configuration", "x", "path", "image", "location"),
                    *("a_type", "media_type", "from_file", "from_previous_result"),
                    "from_arguments",
                ]
            ),
            inner,
        )
    ),
    max_leaves=5,
)


@settings(max_examples=300)
@given(st.sampled_from(PLACES), json_values)
def test_any_value_anywhere_is_accepted_or_refused_with_its_place(path: Any, value: Any) -> None:
    data = copy.deepcopy(FULL)
    if path:
        node: Any = data
        for part in path[:-1]:
            node = node[part]
        node[path[-1]] = value
    text = json.dumps(data if path else value, indent=1)
    lines = text.split("\n")
    for each in problems_of_run(text):
        assert 1 <= each.line <= len(lines)
        assert 1 <= each.column <= len(lines[each.line - 1]) + 1


def problems_of_run(text: str) -> tuple[Diagnostic, ...]:
    try:
        parse_document(text, PATH).bind()
    except WorkflowError as error:
        return error.problems
    return ()

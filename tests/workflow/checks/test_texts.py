"""Texts: what looks like a value or a command of another program, and is neither."""

from __future__ import annotations

import pytest

from tests.workflow.samples import of_pipeline, of_task, parse

WAY = '; write "loras": [{"model_name": ...}] beside \'arguments\''


def warned(prompt: str, **configuration: bool) -> list[str]:
    data = of_pipeline(
        configuration={"component_type": "FluxPipeline", **configuration},
        arguments={"prompt": prompt, "num_inference_steps": "variable:steps"},
    )
    document = parse({**data, "variables": {"steps": 4, "subject": "a fox"}})
    assert all(each.severity == "warning" for each in document.warnings)
    return [each.message for each in document.warnings]


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (
            "a photo of variable:subject",
            "'variable:subject' inside a longer text is not replaced: it must be the whole text",
        ),
        (
            "so: previous_result:ask.text, at dawn",
            "'previous_result:ask.text' inside a longer text is not replaced: it must be the whole "
            "text",
        ),
        (
            "${subject} at dawn",
            "'${subject}' is not replaced: a value is the whole text 'variable:subject'",
        ),
        (
            "${prompt} at dawn",
            "'${prompt}' is not replaced: a value is the whole text 'variable:prompt'",
        ),
        (
            "a {subject} at dawn",
            "'{subject}' is not replaced: a value is the whole text 'variable:subject'",
        ),
        (
            "a {{ subject }} at dawn",
            "'{{ subject }}' is not replaced: a value is the whole text 'variable:subject'",
        ),
        ("a fox <lora:x:0.8>", f"'<lora:x:0.8>' is text to the model, not a LoRA{WAY}"),
        ("a fox <LORA:x>", f"'<LORA:x>' is text to the model, not a LoRA{WAY}"),
        ("<hypernet:x:1>", "'<hypernet:x:1>' is text to the model, not a hypernetwork"),
        (
            "a fox, embedding:bad-hands",
            "'embedding:bad-hands' is text to the model: an embedding is called by its token alone",
        ),
        (
            "a (fox:1.3)",
            "'(fox:1.3)' is text to the model, not a weight; "
            "write \"prompt_weighting\": true inside 'configuration'",
        ),
    ],
)
def test_what_a_text_does_not_do_is_told(prompt: str, message: str) -> None:
    assert warned(prompt) == [message]


@pytest.mark.parametrize(
    "prompt",
    [
        "variable:subject",
        "the variable: a fox",
        "a {red|blue} fox, __animal__",
        "a {mood} fox",
        "5 % of it, <b>bold</b>",
        "(at 16:9, f/2.8)",
        "a screen that shows $5",
    ],
)
def test_prose_is_left_alone(prompt: str) -> None:
    assert warned(prompt) == []


def test_weights_that_are_obeyed_are_fine() -> None:
    assert warned("a (fox:1.3)", prompt_weighting=True) == []


def test_texts_of_tasks_are_read_and_those_of_a_graph_are_not() -> None:
    task = {**of_task(text="variable:n times"), "variables": {"n": 1}}
    assert len(parse(task).warnings) == 1
    graph = {"1": {"class_type": "CLIPTextEncode", "inputs": {"text": "embedding:x (a:1.2)"}}}
    step = {"name": "draw", "comfyui": {"prompt": graph, "inputs": {"1.text": "a (fox:1.3)"}}}
    assert parse({"id": "w", "steps": [step]}).warnings == ()

"""Steps whose class is no pipeline of diffusers: models and processors of transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMInverseScheduler
from transformers import AutoModelForCausalLM, AutoTokenizer

from dw.engine.calls.calling import call
from dw.engine.cancellation import RunControl
from dw.rehearsal import stand_in_model
from dw.workflow.format.configuration import Configuration
from tests.engine.session import Json, Session, text_to_image, workflow

TEXT = {"content_type": "text/plain"}
JSON = {"content_type": "application/json"}


@pytest.fixture(scope="module")
def language(stand_ins: None) -> Path:
    return stand_in_model("language")


def step(name: str, component_type: str, loads: Json, arguments: Json, **more: Any) -> Json:
    configuration = {"component_type": component_type, **more.pop("configuration", {})}
    pipeline = {
        "configuration": configuration,
        "from_pretrained_arguments": loads,
        "arguments": arguments,
        **more.pop("beside", {}),
    }
    return {"name": name, "pipeline": pipeline, **more}


def component(component_type: str, model: Path) -> Json:
    return {
        "configuration": {"component_type": component_type},
        "from_pretrained_arguments": {"model_name": str(model)},
    }


def writer(model: Path, **arguments: Any) -> Json:
    """A step that goes on with a text."""
    call = {"text_inputs": "a cat", "max_new_tokens": 5, "do_sample": False, **arguments}
    loads = {"task": "text-generation", "model": str(model)}
    return step("write", "transformers.pipeline", loads, call, result=JSON)


def answers(session: Session, document: Json, **options: Any) -> list[Any]:
    return [json.loads(Path(o.path).read_text()) for o in session.run(document, **options).outputs]


def test_a_pipeline_of_transformers_is_loaded_once(session: Session, language: Path) -> None:
    [first] = answers(session, workflow(writer(language)))
    assert first["generated_text"].startswith("a cat")
    assert session.loaded == ("write.pipeline",)
    assert answers(session, workflow(writer(language))) == [first]
    assert (session.loaded, session.reason) == ((), "cached")
    row = next(row for row in session.engine.memory().components)
    assert (row.name, row.class_name) == ("write.pipeline", "TextGenerationPipeline")
    assert row.nbytes > 0


def test_it_is_made_of_components_that_have_no_source_of_their_own(
    session: Session, language: Path
) -> None:
    whole = answers(session, workflow(writer(language)))
    made = writer(language)
    del made["pipeline"]["from_pretrained_arguments"]["model"]
    made["pipeline"]["model"] = component("transformers.AutoModelForCausalLM", language)
    made["pipeline"]["tokenizer"] = component("transformers.AutoTokenizer", language)
    assert answers(session, workflow(made)) == whole
    assert set(session.loaded) == {"write.model", "write.tokenizer"}
    assert answers(session, workflow(made)) == whole
    assert session.loaded == ()


def test_a_processor_a_model_and_a_decoder_hand_on_tokens(session: Session, language: Path) -> None:
    loads = {"model_name": str(language)}
    read = step(
        "read", "transformers.AutoTokenizer", loads, {"text": "a cat", "return_tensors": "pt"}
    )
    think = step(
        "think",
        "transformers.AutoModelForCausalLM",
        {**loads, "torch_dtype": "torch.bfloat16"},
        {
            "input_ids": "previous_result:read.input_ids",
            "max_new_tokens": 4,
            "do_sample": False,
        },
        configuration={"generate": True},
    )
    count = {
        "name": "count",
        "task": {
            "command": "get_dict_value",
            "arguments": {"dict": {"ids": "previous_result:think.generated_ids"}, "key": "ids"},
        },
    }
    session.run(workflow(read, think, count))
    assert set(session.loaded) == {"read.AutoTokenizer", "think.AutoModelForCausalLM"}
    rows = {row.name: row.dtype for row in session.engine.memory().components}
    assert rows == {"read.AutoTokenizer": "-", "think.AutoModelForCausalLM": "bfloat16"}


def test_generate_gives_the_ids_that_the_model_alone_gives(language: Path) -> None:
    tokens = AutoTokenizer.from_pretrained(language)("a cat", return_tensors="pt")
    model = AutoModelForCausalLM.from_pretrained(language)
    arguments = {"input_ids": tokens["input_ids"], "max_new_tokens": 4, "do_sample": False}
    told = Configuration(component_type="transformers.AutoModelForCausalLM", generate=True)
    result = call(model, arguments, RunControl(), configuration=told, warn=str, tell=print)
    assert list(result) == ["generated_ids"]
    assert torch.equal(result["generated_ids"], model.generate(**arguments))


def test_the_seed_decides_what_is_drawn(session: Session, language: Path) -> None:
    draws = workflow(writer(language, do_sample=True))
    assert answers(session, draws, seed=1) == answers(session, draws, seed=1)
    assert answers(session, draws, seed=1) != answers(session, draws, seed=2)


def test_a_text_in_braces_among_nested_settings_reaches_the_model(
    session: Session, language: Path
) -> None:
    document = writer(language)
    document["pipeline"]["from_pretrained_arguments"]["model_kwargs"] = {
        "rope_parameters": {"rope_type": "{default}", "rope_theta": 20000.0}
    }
    session.run(workflow(document))
    (held,) = session.engine._cache.components()
    model: Any = held.value.model
    assert model.config.rope_parameters["rope_type"] == "default"
    assert model.config.rope_parameters["rope_theta"] == 20000.0


def test_it_is_rehearsed(session: Session) -> None:
    document = workflow(writer(Path("microsoft/Phi-3.5-mini-instruct")))
    assert answers(session, document, rehearse=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"task": "text-generaton"},
            "transformers has no task 'text-generaton' (did you mean 'text-generation'?)",
        ),
        ({"model": None}, "a pipeline of transformers needs 'model', here or as a component"),
    ],
)
def test_what_cannot_be_loaded_is_told(
    warm: Session, language: Path, changes: Json, message: str
) -> None:
    document = writer(language)
    loads = {**document["pipeline"]["from_pretrained_arguments"], **changes}
    document["pipeline"]["from_pretrained_arguments"] = {
        name: value for name, value in loads.items() if value is not None
    }
    problems = warm.engine.check(warm.document(workflow(document)))
    assert [problem.message for problem in problems] == [message]


def test_a_component_beside_a_model_that_is_loaded_whole_is_told(
    warm: Session, language: Path
) -> None:
    document = writer(language)
    document["pipeline"]["tokenizer"] = component("transformers.AutoTokenizer", language)
    [problem] = warm.engine.check(warm.document(workflow(document)))
    assert problem.message == "'tokenizer' cannot be beside a 'model': pipeline is loaded whole"


@pytest.mark.parametrize(
    "name", ["transformers.Trainer", "transformers.TextStreamer", "torch.Generator"]
)
def test_what_is_nothing_to_load_is_told(warm: Session, name: str) -> None:
    document = workflow(step("x", name, {"model_name": "a/b"}, {}))
    problems = warm.engine.check(warm.document(document))
    assert [problem.message for problem in problems] == [f"{name!r} is not a diffusers pipeline"]


@pytest.mark.filterwarnings("ignore:The decode_latents method:FutureWarning")
def test_an_image_is_inverted(session: Session, sd15: Path, cat: Path) -> None:
    document = text_to_image(
        sd15,
        configuration={"component_type": "StableDiffusionDiffEditPipeline", "inversion": True},
        inverse_scheduler={
            "configuration": {"component_type": DDIMInverseScheduler.__name__},
            "from_pretrained_arguments": {"model_name": str(sd15), "subfolder": "scheduler"},
        },
    )
    [gen] = document["steps"]
    gen["pipeline"]["arguments"] = {
        "prompt": "a cat",
        "image": "cat.png",
        "num_inference_steps": 4,
        "output_type": "{pil}",
        "decode_latents": True,
    }
    one, two = session.hashes(document), session.hashes(document)
    assert one == two


def test_a_pipeline_that_cannot_invert_is_told(warm: Session) -> None:
    document = text_to_image("any/model", configuration={"inversion": True})
    [problem] = warm.engine.check(warm.document(document))
    assert problem.message == "StableDiffusionPipeline has no 'invert'"

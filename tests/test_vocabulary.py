"""What other programs call things: each name leads to something that there is here."""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

import pytest

from dw.errors import did_you_mean
from dw.vocabulary import _SAMPLERS as SAMPLERS
from dw.vocabulary import OTHER_NAMES, WAYS, sampler_hint, scheduler_for, scheduler_form, way_of
from dw.workflow.checks.keys import meaning
from tests.workflow.samples import parse, pipeline, workflow

FORM = re.compile(r'(?P<form>".*) (?P<place>beside|inside) (?P<quoted>\'\w+\')')
FORMS = sorted({way for way in WAYS.values() if way.startswith('"')})


@pytest.mark.parametrize("way", FORMS)
def test_what_is_told_to_be_written_is_valid_where_it_is_told(way: str) -> None:
    found = FORM.match(way)
    assert found is not None, way
    written: dict[str, Any] = json.loads(f"{{{found['form'].replace('...', _sample(way))}}}")
    step: dict[str, Any] = {"name": "gen", "pipeline": pipeline()}
    place = found["quoted"].strip("'")
    if place == "result":
        step["result"] = {"content_type": "video/mp4", **written}
    elif found["place"] == "beside":
        step["pipeline"] |= written
    else:
        kept = {} if "from_single_file" in written else step["pipeline"].get(place, {})
        step["pipeline"][place] = {**kept, **written}
    if "ip_adapter" in written:
        step["pipeline"]["arguments"]["ip_adapter_image"] = "https://example.com/a.png"
    assert parse(workflow(step)).warnings == ()


def _sample(way: str) -> str:
    if "scheduler_type" in way:
        return '"EulerDiscreteScheduler"'
    return '"a/b.safetensors"' if "from_single_file" in way else '"a/b"'


@pytest.mark.parametrize(("cls", "settings"), SAMPLERS.values(), ids=list(SAMPLERS))
def test_a_sampler_is_a_class_that_takes_its_settings(cls: str, settings: dict[str, Any]) -> None:
    import diffusers

    found = getattr(diffusers, cls)
    if not hasattr(found, "_backends"):  # else a package is missing
        assert settings.keys() <= inspect.signature(found.__init__).parameters.keys()


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("steps", ["num_inference_steps", "strength"], "num_inference_steps"),
        ("Steps", ["num_inference_steps"], "num_inference_steps"),
        ("CFG scale", ["guidance_scale"], "guidance_scale"),
        ("cfg", ["true_cfg_scale", "guidance_scale"], "guidance_scale"),
        ("cfg", ["true_cfg_scale"], "true_cfg_scale"),
        ("denoising_strength", ["denoising_end", "strength"], "strength"),
        ("strength_model", ["scale", "model_name"], "scale"),
        ("lora_name", ["weight_name", "model_name"], "model_name"),
        ("num_inference_steps", ["steps", "prompt"], "steps"),
        ("Batch-Size", ["num_videos_per_prompt"], "num_videos_per_prompt"),
        ("PROMTP", ["prompt"], "prompt"),
    ],
)
def test_another_programs_name_is_answered_with_ours(
    name: str, known: list[str], meant: str
) -> None:
    assert did_you_mean(name, known) == f" (did you mean {meant!r}?)"


def test_names_that_mean_nothing_are_answered_with_nothing() -> None:
    assert did_you_mean("mood", ["strength", "scale"]) == way_of("mood") == ""
    assert scheduler_for("mood") is scheduler_form("mood") is None


def test_a_sampler_is_written_with_its_settings() -> None:
    assert scheduler_form("dpmpp_2m_karras") == (
        '"scheduler": {"configuration": {"scheduler_type": "DPMSolverMultistepScheduler"}, '
        '"from_config_args": {"use_karras_sigmas": true}}'
    )
    assert (
        scheduler_form("karras") == '"scheduler": {"from_config_args": {"use_karras_sigmas": true}}'
    )
    assert way_of("sampler_name", "Euler a").startswith('; write "scheduler": {"configuration":')
    assert sampler_hint("karras") == ""


@pytest.mark.parametrize(
    ("key", "known", "told"),
    [
        ("enable_model_cpu_offload", [], '; write "offload": "model" inside \'configuration\''),
        ("component_type", ["name"], "; it is a key of 'configuration'"),
        ("steps", ["name"], "; write \"num_inference_steps\" inside 'arguments'"),
        ("prompt", ["name"], "; write \"prompt\" inside 'arguments'"),
        ("offload", [], "; it is a key of 'configuration'"),
        ("notes", ["name"], ""),
        ("description", ["name"], ""),
    ],
)
def test_a_key_is_told_what_it_means_or_where_it_stands(
    key: str, known: list[str], told: str
) -> None:
    assert meaning(key, known) == told


def test_no_name_is_said_to_mean_itself() -> None:
    assert not [name for name, meant in OTHER_NAMES.items() if meant == (name,)]

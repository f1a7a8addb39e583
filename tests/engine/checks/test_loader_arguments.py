from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dw.engine.checks.loader_arguments import check_loader_arguments
from dw.types import Permissions
from dw.workflow.checks.loader_options import WAYS_OUT
from dw.workflow.loading import validate_text
from tests.engine.session import Session, text_to_image


def found(*, is_pipeline: bool = True, **arguments: Any) -> list[tuple[Any, str]]:
    given = check_loader_arguments(arguments, ("x",), own=("vae",), is_pipeline=is_pipeline)
    return [(each.path[-1], each.message) for each in given]


@pytest.mark.parametrize("name", WAYS_OUT)
def test_what_other_programs_call_it_is_answered_with_what_there_is(name: str) -> None:
    assert found(**{name: "x"}) == [(name, f"the loader takes no {name!r}: {WAYS_OUT[name]}")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variatn": "fp16"}, "the loader takes no 'variatn' (did you mean 'variant'?)"),
        ({"nonsense": 1}, "the loader takes no 'nonsense'"),
        (
            {"safety_checker": None},
            "the loader takes no 'safety_checker': the pipeline has no such component that null "
            "would leave out",
        ),
        (
            {"model_name": "a/b", "subfolder": "unet"},
            "'subfolder' would have no effect here: a pipeline is a whole folder; a "
            "component of it goes beside 'configuration'",
        ),
        (
            {"model_name": "a/b", "config": "c"},
            "'config' would have no effect here: it goes with 'from_single_file'; a folder has its "
            "own configs",
        ),
        (
            {"from_single_file": "a.safetensors", "variant": "fp16"},
            "'variant' would have no effect here: the file is the variant",
        ),
        (
            {"from_single_file": "a.safetensors", "low_cpu_mem_usage": True},
            "'low_cpu_mem_usage' would have no effect here: one file is read as it is; a component "
            "with a 'from_single_file' of its own takes it",
        ),
        (
            {"custom_revision": "x"},
            "'custom_revision' would have no effect here: it goes with 'custom_pipeline'; "
            "'revision' is that of the model",
        ),
        (
            {"force_download": True},
            "'force_download' would download the model in each run: remove it from the cache",
        ),
    ],
)
def test_what_would_be_ignored_is_told(arguments: dict[str, Any], message: str) -> None:
    assert [text for _, text in found(**arguments)] == [message]


@pytest.mark.parametrize(
    "arguments",
    [
        {"model_name": "a/b", "vae": None, "variant": "fp16", "disable_mmap": True},
        {"model_name": "a/b", "low_cpu_mem_usage": False, "use_safetensors": True},
        {"model_name": "a/b", "subfolder": None, "config": None, "force_download": False},
        {"from_single_file": "a.safetensors", "config": "c", "variant": None},
        {"custom_pipeline": "p", "custom_revision": "x"},
    ],
)
def test_what_has_an_effect_or_says_nothing_passes(arguments: dict[str, Any]) -> None:
    assert found(**arguments) == []


def test_a_component_has_a_folder(tmp_path: Any) -> None:
    assert found(is_pipeline=False, model_name="a/b", subfolder="vae") == []
    assert found(is_pipeline=False, from_single_file="a.gguf", low_cpu_mem_usage=True) == []


@pytest.mark.parametrize(
    "name", ["dduf_file", "mirror", "provider", "offload_folder", "custom_revision", "max_memory"]
)
@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("place", ["pipeline", "component"])
def test_one_error_tells_the_way_out(warm: Session, name: str, trust: bool, place: str) -> None:
    given = {"model_name": "a/b", name: "x"}
    part = {
        "configuration": {"component_type": "AutoencoderKL"},
        "from_pretrained_arguments": given,
    }
    changes = {"from_pretrained_arguments": given} if place == "pipeline" else {"vae": part}
    document = text_to_image("any/model", **changes)
    permissions = Permissions(trust=trust)
    checked = validate_text(json.dumps(document), Path("w.json"), permissions=permissions)
    assert checked.document is not None
    found = checked.with_more(warm.engine.check(checked.document)).problems
    (told,) = [each.message for each in found]
    assert repr(name) in told
    assert WAYS_OUT.get(name, "it goes with 'custom_pipeline'") in told

"""Schedulers that do not fit their model, and a shift without effect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dw.engine.models.schedulers import check_scheduler
from dw.errors import WorkflowError
from dw.vocabulary import sampler_hint
from dw.workflow import validate_text
from dw.workflow.format.pipeline import Scheduler
from tests.engine.session import Json, Session, text_to_image

FLUX = {"component_type": "FluxPipeline"}
FLOW_ARGUMENTS = {
    "use_flow_sigmas": True,
    "prediction_type": "{flow_prediction}",
    "flow_shift": 3.0,
}


def of_type(name: str, **arguments: Any) -> Json:
    return {"configuration": {"scheduler_type": name}, "from_config_args": arguments}


def told(session: Session, model: Path | str, scheduler: Json, **configuration: Any) -> list[str]:
    """What `validate` says: the classes' problems, then the models'."""
    given = {"configuration": configuration} if configuration else {}
    document = session.document(text_to_image(model, scheduler=scheduler, **given))
    found = session.engine.check(document) or session.engine.check_models(document)
    return [each.message for each in found if each.severity == "error"]


def test_flow_matching_is_told_before_the_model_is_there(warm: Session) -> None:
    [message] = told(warm, "any/model", of_type("FlowMatchEulerDiscreteScheduler"))
    assert message.startswith(
        "FlowMatchEulerDiscreteScheduler is for flow matching, the model is not: it takes "
        "DDIMScheduler, DDPMScheduler, "
    )


@pytest.mark.parametrize("name", ["UniPCMultistepScheduler", "DPMSolverMultistepScheduler"])
def test_a_scheduler_of_another_kind_needs_its_switch(warm: Session, flux: Path, name: str) -> None:
    [message] = told(warm, flux, of_type(name), **FLUX)
    assert message == (
        f'the model is trained for flow matching, which {name} needs "from_config_args" for: '
        '{"use_flow_sigmas": true, "prediction_type": "{flow_prediction}", "flow_shift": 3}'
    )
    assert message in str(
        warm.fail(text_to_image(flux, scheduler=of_type(name), configuration=FLUX))
    )
    assert told(warm, flux, of_type(name, **FLOW_ARGUMENTS), **FLUX) == []


def test_what_the_message_says_draws(warm: Session, flux: Path) -> None:
    scheduler = of_type("UniPCMultistepScheduler", **FLOW_ARGUMENTS)
    drawn = warm.hashes(text_to_image(flux, scheduler=scheduler, configuration=FLUX))
    assert drawn != warm.hashes(text_to_image(flux, configuration=FLUX))


def test_one_without_flow_matching_does_not_fit(warm: Session, flux: Path) -> None:
    [message] = told(warm, flux, of_type("DDIMScheduler"), **FLUX)
    assert message.startswith("DDIMScheduler is not for flow matching, which the model is")


@pytest.mark.parametrize("arguments", [{}, {"shift": 7}])
def test_a_shift_without_effect_is_told_with_the_way_out(
    warm: Session, flux: Path, arguments: Json
) -> None:
    scheduler: Json = {"from_config_args": arguments} if arguments else {}
    scheduler |= (
        {"shift": 7} if not arguments else of_type("FlowMatchEulerDiscreteScheduler", **arguments)
    )
    [message] = told(warm, flux, scheduler, **FLUX)
    assert message.startswith("'shift' has no effect: ")
    assert '"from_config_args": {"use_dynamic_shifting": false}' in message
    failure = warm.fail(text_to_image(flux, scheduler=scheduler, configuration=FLUX))
    assert isinstance(failure, WorkflowError), "before anything is loaded"
    static = {**scheduler, "from_config_args": {**arguments, "use_dynamic_shifting": False}}
    assert told(warm, flux, static, **FLUX) == []


def test_its_place_is_that_of_the_shift(warm: Session, flux: Path) -> None:
    document = warm.document(text_to_image(flux, scheduler={"shift": 7}, configuration=FLUX))
    [problem] = [each for each in warm.engine.check_models(document) if each.severity == "error"]
    line = document.text.splitlines()[problem.line - 1]
    assert line[problem.column - 1 :] == "7"


@pytest.mark.parametrize(
    ("own", "config", "cls", "is_told"),
    [
        # Wan: its own scheduler is one for flow matching by its settings.
        ("UniPCMultistepScheduler", {"use_flow_sigmas": True, "prediction_type": "flow_prediction"},
         "FlowMatchEulerDiscreteScheduler", False),
        ("UniPCMultistepScheduler", {"use_flow_sigmas": True, "prediction_type": "flow_prediction"},
         "DPMSolverMultistepScheduler", False),
        ("DDIMScheduler", {}, "LCMScheduler", False),
        ("DDIMScheduler", {"prediction_type": "v_prediction"}, "UniPCMultistepScheduler", False),
        ("DDIMScheduler", {}, "FlowMatchHeunDiscreteScheduler", True),
        ("SCMScheduler", {}, "FlowMatchEulerDiscreteScheduler", False),  # of its own kind
        ("FlowMatchEulerDiscreteScheduler", {}, "FlowMatchLCMScheduler", False),
    ],
)  # fmt: skip
def test_schedulers_that_fit_are_not_told(own: str, config: Json, cls: str, is_told: bool) -> None:
    import diffusers

    found = check_scheduler(getattr(diffusers, own), config, Scheduler(), getattr(diffusers, cls))
    assert bool(list(found)) == is_told


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("euler_a", "; it is EulerAncestralDiscreteScheduler"),
        ("Euler a", "; it is EulerAncestralDiscreteScheduler"),
        ("dpmpp_2m", "; it is DPMSolverMultistepScheduler"),
        ("DPM++ 2M Karras", "; it is DPMSolverMultistepScheduler, with "
         '"from_config_args": {"use_karras_sigmas": true}'),
        ("dpmpp_2m_sde_gpu", "; it is DPMSolverMultistepScheduler, with "
         '"from_config_args": {"algorithm_type": "{sde-dpmsolver++}"}'),
        ("uni_pc", "; it is UniPCMultistepScheduler"),
        ("nothing", ""),
    ],
)  # fmt: skip
def test_a_sampler_of_another_program_is_named(name: str, hint: str) -> None:
    import diffusers

    assert sampler_hint(name) == hint
    document = text_to_image("any/model", scheduler=of_type(name))
    import json

    [problem] = validate_text(json.dumps(document), Path("w.json")).problems
    assert hint in problem.message
    if hint:
        assert hasattr(diffusers, hint.split()[3].rstrip(","))

"""Schedulers: those of a workflow against the one that the model was trained for."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers

from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.pipeline import Scheduler
from dw.workflow.json_path import JsonPath

DIFFUSION = tuple(scheduler.name for scheduler in KarrasDiffusionSchedulers)
"""The schedulers of diffusers that take one another's place, for models that predict noise."""

_TYPE: JsonPath = ("configuration", "scheduler_type")
_PREDICTIONS = ("epsilon", "v_prediction", "sample")


def is_for_flow(class_name: str) -> bool:
    return class_name.startswith("FlowMatch")


def not_for_flow(class_name: str) -> str:
    return f"{class_name} is for flow matching, the model is not: it takes {', '.join(DIFFUSION)}"


def check_scheduler(
    own: Any, config: Mapping[str, Any], wanted: Scheduler, cls: Any
) -> Diagnostics:
    """What is wrong with replacing the model's scheduler, of the class `own` with `config`, by one
    of the class `cls` with the same config. Paths begin at the scheduler."""
    known = signature(cls.__init__).parameters
    own_config = {name: each.default for name, each in signature(own.__init__).parameters.items()}
    own_config |= config
    merged = {name: each.default for name, each in known.items()}
    merged |= {name: value for name, value in config.items() if name in known}
    merged |= wanted.from_config_args
    flows, will_flow = _flows(own, own_config), _flows(cls, merged)
    if flows and will_flow is False:
        yield DataDiagnostic(_TYPE, _for_flow(cls, known, config))
    elif flows is False and will_flow:
        yield DataDiagnostic(_TYPE, not_for_flow(cls.__name__))
    for path, value in (
        (("shift",), wanted.shift),
        (("from_config_args", "shift"), wanted.from_config_args.get("shift")),
    ):
        if value is None:
            continue
        if path == ("shift",) and not hasattr(cls, "set_shift"):
            hint = f'; "from_config_args": {{"flow_shift": {value:g}}} sets its own'
            has_own = "flow_shift" in known
            message = f"{cls.__name__} has no shift to set{hint if has_own else ''}"
            yield DataDiagnostic(path, message)
        elif merged.get("use_dynamic_shifting"):
            message = (
                "'shift' has no effect: the model's scheduler takes the shift from the size of the "
                'image; "from_config_args": {"use_dynamic_shifting": false} makes it count'
            )
            yield DataDiagnostic(path, message)


def _flows(cls: Any, config: Mapping[str, Any]) -> bool | None:
    """Whether a scheduler is for flow matching; None where its config does not tell."""
    prediction = config.get("prediction_type")
    if (
        is_for_flow(cls.__name__)
        or config.get("use_flow_sigmas")
        or prediction == "flow_prediction"
    ):
        return True
    return False if prediction in _PREDICTIONS else None


def _for_flow(cls: Any, known: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """The error for a scheduler that is not for flow matching, or not without its switch."""
    if "use_flow_sigmas" not in known:
        return (
            f"{cls.__name__} is not for flow matching, which the model is trained for; "
            "FlowMatchEulerDiscreteScheduler and UniPCMultistepScheduler are"
        )
    shift = f', "flow_shift": {config.get("shift", 1.0):g}' if "flow_shift" in known else ""
    return (
        f'the model is trained for flow matching, which {cls.__name__} needs "from_config_args" '
        f'for: {{"use_flow_sigmas": true, "prediction_type": "{{flow_prediction}}"{shift}}}'
    )

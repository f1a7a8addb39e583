"""Samplers: the names of schedulers in AUTOMATIC1111 and ComfyUI, and what they are here."""

from __future__ import annotations

import json
import re
from typing import Any

_SDE = {"algorithm_type": "{sde-dpmsolver++}"}
_SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "euler": ("EulerDiscreteScheduler", {}),
    "eulera": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "ddim": ("DDIMScheduler", {}),
    "ddpm": ("DDPMScheduler", {}),
    "plms": ("PNDMScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "deis": ("DEISMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {}),
    "dpm2": ("KDPM2DiscreteScheduler", {}),
    "dpm2a": ("KDPM2AncestralDiscreteScheduler", {}),
    "dpm++2m": ("DPMSolverMultistepScheduler", {}),
    "dpm++2msde": ("DPMSolverMultistepScheduler", _SDE),
    "dpm++3msde": ("DPMSolverMultistepScheduler", {**_SDE, "solver_order": 3}),
    "dpm++2s": ("DPMSolverSinglestepScheduler", {}),
    "dpm++2sa": ("DPMSolverSinglestepScheduler", {}),
    "dpm++sde": ("DPMSolverSDEScheduler", {}),
}
"""Letters, digits and plus signs of a name to the class and its settings."""

_SIGMAS = {
    "karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
    "beta": {"use_beta_sigmas": True},
}


def sampler_hint(name: str) -> str:
    """The class and the settings for a sampler, as the end of a sentence.

    >>> sampler_hint("DPM++ 2M Karras")
    '; it is DPMSolverMultistepScheduler, with "from_config_args": {"use_karras_sigmas": true}'
    """
    short = re.sub(r"[^a-z0-9+]", "", name.lower().replace("pp", "++"))
    short = short.removeprefix("sample").removesuffix("gpu").replace("ancestral", "a")
    ending = next((each for each in _SIGMAS if short.endswith(each)), "")
    found = _SAMPLERS.get(short.removesuffix(ending))
    if found is None:
        return ""
    settings = found[1] | _SIGMAS.get(ending, {})
    given = f', with "from_config_args": {json.dumps(settings)}' if settings else ""
    return f"; it is {found[0]}{given}"

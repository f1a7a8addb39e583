"""Which published model a pipeline runs on: its family. No torch here."""

from __future__ import annotations

import re

from dw.errors import UseRealModels, WorkflowError
from dw.rehearsal.family import Family
from dw.rehearsal.published_models import FAMILIES, REFUSED, SD15
from dw.workflow.checks.classes import diffusers_names

COMPANIONS = frozenset({"controlnet", "motion_adapter", "adapter", "latent_upsampler"})
"""Components that are published on their own, and that no model index names."""

GENERIC = (
    "DiffusionPipeline",
    "AutoPipelineForText2Image",
    "AutoPipelineForImage2Image",
    "AutoPipelineForInpainting",
)
"""Classes that find the real one in the model's folder. Here only the model id can tell."""

_MODULAR = "ModularPipeline"
_UNKNOWN = "it is no pipeline of the installed diffusers"
_TASK = re.compile(
    r"PAG|ControlNet(Union|XS)?|Controlnet|Adapter|Img2Img|Image2Image|Inpaint(ing)?|SparseControlNet"
    r"|VideoToVideo"
)


def family_of(component_type: str, model_name: str) -> Family:
    """The family of a pipeline class (`FluxPipeline`, `diffusers.FluxPipeline`) and model id.

    A generic class takes its family from the words of the model id, Stable Diffusion 1.5 when none
    is known. A class of diffusers that is in no family is one of its own. Raises WorkflowError for
    other classes.
    """
    class_name = _standard(component_type.rpartition(".")[2])
    candidates = [f for f in FAMILIES if class_name in GENERIC or _runs_on(class_name, f)]
    candidates = [f for f in candidates if f.is_alone and f.pipeline == class_name] or candidates
    if not candidates:
        return _own(class_name)
    found = [f for f in candidates if any(w in model_name.lower() for w in f.words)]
    # the longest word says most: "refiner" more than "xl"
    default = SD15 if class_name in GENERIC else candidates[0]
    return max(found, key=lambda f: _weight(f, model_name), default=default)


def _standard(class_name: str) -> str:
    """The pipeline that runs on the same models as a modular one: `FluxPipeline` is that of
    `FluxModularPipeline`. Models that have none are known by the modular one."""
    if class_name == _MODULAR:
        return GENERIC[0]
    standard = class_name.replace(_MODULAR, "Pipeline")
    return standard if standard in diffusers_names() else class_name


def _weight(family: Family, model_name: str) -> int:
    return max(len(word) for word in family.words if word in model_name.lower())


def _runs_on(class_name: str, family: Family) -> bool:
    stem = _stem(class_name)
    return stem == _stem(family.pipeline) or stem in {_stem(name) for name in family.also}


def _stem(class_name: str) -> str:
    """Its name without the tasks in it: those run on the same models."""
    return _TASK.sub("", class_name).removesuffix("Pipeline")


def _own(class_name: str) -> Family:
    reasons = (why for start, why in REFUSED.items() if class_name.startswith(start))
    why = next(reasons, None)
    if why is None and class_name in diffusers_names():
        return Family(class_name, class_name)
    raise WorkflowError(
        f"{class_name} cannot be rehearsed: {why or _UNKNOWN}",
        hints=[UseRealModels()],
    )

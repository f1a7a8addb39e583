"""Lookup of families: the published model that a pipeline class runs on. Imports no torch."""

from __future__ import annotations

import re

from dw.errors import UseRealModels, WorkflowError
from dw.rehearsal.family import Family
from dw.rehearsal.published_models import FAMILIES, REFUSED, SD15
from dw.workflow.checks.classes import diffusers_names

COMPANIONS = frozenset({"controlnet", "motion_adapter", "adapter", "latent_upsampler"})
"""Components that are published separately and that no model index names."""

GENERIC = (
    "DiffusionPipeline",
    "AutoPipelineForText2Image",
    "AutoPipelineForImage2Image",
    "AutoPipelineForInpainting",
)
"""Classes that find the real one in the model's folder; here the model id decides."""

_MODULAR = "ModularPipeline"
_UNKNOWN = "it is not a pipeline of the installed diffusers"
_TASK = re.compile(
    r"PAG|ControlNet(Union|XS)?|Controlnet|Adapter|Img2Img|Image2Image|Inpaint(ing)?|SparseControlNet"
    r"|VideoToVideo"
)


def family_of(component_type: str, model_name: str) -> Family:
    """The family of a pipeline class (`FluxPipeline`, `diffusers.FluxPipeline`) and model id.

    For a generic class the words of the model id decide, with Stable Diffusion 1.5 as default. A
    class of diffusers in no family is a family of its own. Raises WorkflowError for other
    classes.
    """
    class_name = _standard(component_type.rpartition(".")[2])
    stem = _stem(class_name)
    related = [f for f in FAMILIES if stem in map(_stem, (f.pipeline, *f.also))]
    candidates = list(FAMILIES) if class_name in GENERIC else related
    candidates = [f for f in candidates if f.is_alone and f.pipeline == class_name] or candidates
    if not candidates:
        return _own(class_name)
    found = [f for f in candidates if any(w in model_name.lower() for w in f.words)]
    default = SD15 if class_name in GENERIC else candidates[0]

    def longest_word(family: Family) -> int:
        return max(len(word) for word in family.words if word in model_name.lower())

    return max(found, key=longest_word, default=default)  # "refiner" says more than "xl"


def _standard(class_name: str) -> str:
    """The standard pipeline for the models of a modular one: `FluxPipeline` for
    `FluxModularPipeline`. Without a standard one it is the modular one itself."""
    if class_name == _MODULAR:
        return GENERIC[0]
    standard = class_name.replace(_MODULAR, "Pipeline")
    return standard if standard in diffusers_names() else class_name


def _stem(class_name: str) -> str:
    """The class name without its tasks, which run on the same models."""
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

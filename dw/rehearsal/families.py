"""Which tiny pipeline stands in for which class and model id. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from dw.errors import WorkflowError

_TASKS = ("", "Img2Img", "Inpaint")


@dataclass(frozen=True, slots=True)
class Family:
    """Pipeline classes that run on the same components."""

    name: str
    title: str
    pipelines: tuple[str, ...]
    word: str | None = None  # tells a model id of this family from another's


SD15 = Family(
    name="sd15",
    title="Stable Diffusion 1.5",
    pipelines=(
        *(f"StableDiffusion{task}Pipeline" for task in _TASKS),
        *(f"StableDiffusionPAG{task}Pipeline" for task in _TASKS),
    ),
)
SDXL = Family(
    name="sdxl",
    title="Stable Diffusion XL",
    pipelines=(
        *(f"StableDiffusionXL{task}Pipeline" for task in _TASKS),
        *(f"StableDiffusionXLPAG{task}Pipeline" for task in _TASKS),
    ),
    word="xl",
)
FLUX = Family(
    name="flux",
    title="FLUX.1",
    pipelines=(
        *(f"Flux{task}Pipeline" for task in _TASKS),
        "FluxKontextPipeline",
        "FluxKontextInpaintPipeline",
    ),
    word="flux",
)

FAMILIES = (SD15, SDXL, FLUX)

GENERIC = (
    "DiffusionPipeline",
    "AutoPipelineForText2Image",
    "AutoPipelineForImage2Image",
    "AutoPipelineForInpainting",
)
"""Classes that find the real one in the model's folder. Here only the model id can tell."""


def family_of(component_type: str, model_name: str) -> Family:
    """The family of a pipeline class (`FluxPipeline`, `diffusers.FluxPipeline`).

    A generic class takes its family from the words of the model id, Stable Diffusion 1.5 when none
    is known. Raises WorkflowError for a class that no stand-in fits.
    """
    class_name = component_type.rpartition(".")[2]
    if class_name in GENERIC:
        return _family_of_model(model_name)
    for family in FAMILIES:
        if class_name in family.pipelines:
            return family
    raise _not_yet(class_name)


def _family_of_model(model_name: str) -> Family:
    name = model_name.lower()
    return next((family for family in FAMILIES if family.word and family.word in name), SD15)


def _not_yet(class_name: str) -> WorkflowError:
    titles = ", ".join(family.title for family in FAMILIES)
    return WorkflowError(
        f"{class_name} cannot be rehearsed yet",
        hints=[
            f"pipelines that can: text to image, image to image and inpainting of {titles}",
            "config rehearse=off   runs it on the real models",
        ],
    )

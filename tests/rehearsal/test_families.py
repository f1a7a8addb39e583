from __future__ import annotations

import subprocess
import sys

import pytest

from dw.errors import WorkflowError
from dw.rehearsal import FAMILIES, family_of


@pytest.mark.parametrize(
    ("component_type", "family"),
    [
        ("StableDiffusionPipeline", "stable-diffusion-1.5"),
        ("StableDiffusionControlNetImg2ImgPipeline", "stable-diffusion-1.5"),
        ("StableDiffusionPAGInpaintPipeline", "stable-diffusion-1.5"),
        ("AnimateDiffControlNetPipeline", "stable-diffusion-1.5"),
        ("StableDiffusionXLInpaintPipeline", "stable-diffusion-xl"),
        ("StableDiffusionXLControlNetUnionPipeline", "stable-diffusion-xl"),
        ("AnimateDiffSDXLPipeline", "stable-diffusion-xl"),
        ("StableDiffusion3ControlNetInpaintingPipeline", "stable-diffusion-3"),
        ("FluxPipeline", "flux.1-dev"),
        ("diffusers.FluxImg2ImgPipeline", "flux.1-dev"),
        ("FluxKontextInpaintPipeline", "flux.1-dev"),
        ("FluxControlNetPipeline", "flux.1-dev"),
        ("FluxControlImg2ImgPipeline", "flux.1-control"),
        ("FluxFillPipeline", "flux.1-fill"),
        ("WanVideoToVideoPipeline", "wan-2.1"),
        ("LTXConditionPipeline", "ltx-video"),
        ("DDPMPipeline", "ddpmpipeline"),
    ],
)
def test_a_class_has_its_family(component_type: str, family: str) -> None:
    assert family_of(component_type, "any/model").name == family


@pytest.mark.parametrize(
    ("component_type", "model_name", "family"),
    [
        ("FluxPipeline", "black-forest-labs/FLUX.1-schnell", "flux.1-schnell"),
        ("StableDiffusionInpaintPipeline", "a/sd-inpainting", "stable-diffusion-1.5-inpainting"),
        ("StableDiffusionXLInpaintPipeline", "a/sdxl-inpainting", "stable-diffusion-xl"),
        ("StableDiffusionXLImg2ImgPipeline", "a/sdxl-refiner", "stable-diffusion-xl-refiner"),
        ("WanPipeline", "Wan-AI/Wan2.2-T2V-A14B-Diffusers", "wan-2.2"),
        ("WanImageToVideoPipeline", "Wan-AI/Wan2.2-I2V-A14B", "wan-2.2-image-to-video"),
    ],
)
def test_the_model_id_tells_one_family_of_a_class_from_another(
    component_type: str, model_name: str, family: str
) -> None:
    assert family_of(component_type, model_name).name == family


@pytest.mark.parametrize(
    ("model_name", "family"),
    [
        ("stable-diffusion-v1-5/stable-diffusion-v1-5", "stable-diffusion-1.5"),
        ("stabilityai/stable-diffusion-xl-base-1.0", "stable-diffusion-xl"),
        ("RunDiffusion/Juggernaut-XL-v9", "stable-diffusion-xl"),
        ("black-forest-labs/FLUX.1-dev", "flux.1-dev"),
        ("black-forest-labs/FLUX.1-Fill-dev", "flux.1-fill"),
        ("stabilityai/stable-diffusion-3-medium-diffusers", "stable-diffusion-3"),
        ("/models/portrait", "stable-diffusion-1.5"),
    ],
)
@pytest.mark.parametrize("generic", ["DiffusionPipeline", "AutoPipelineForImage2Image"])
def test_a_generic_class_takes_its_family_from_the_model_id(
    generic: str, model_name: str, family: str
) -> None:
    assert family_of(generic, model_name).name == family


@pytest.mark.parametrize("component_type", ["transformers.pipeline", "mine.OwnPipeline"])
def test_a_class_that_is_no_pipeline_of_diffusers_is_refused_by_name(component_type: str) -> None:
    with pytest.raises(WorkflowError, match="cannot be rehearsed") as caught:
        family_of(component_type, "black-forest-labs/FLUX.1-dev")
    assert component_type.split(".")[-1] in str(caught.value)
    assert caught.value.hints


def test_no_two_families_have_one_name() -> None:
    names = [family.name for family in FAMILIES]
    assert len(names) == len(set(names))


def test_importing_the_package_imports_no_torch() -> None:
    code = (
        "import sys, dw.rehearsal as r; r.family_of('FluxPipeline', '');"
        "sys.exit(bool({'torch', 'diffusers', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

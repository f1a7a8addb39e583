from __future__ import annotations

import subprocess
import sys

import pytest

from dw.errors import WorkflowError
from dw.rehearsal import FAMILIES, family_of


@pytest.mark.parametrize(
    ("component_type", "family"),
    [
        ("StableDiffusionPipeline", "sd15"),
        ("StableDiffusionImg2ImgPipeline", "sd15"),
        ("StableDiffusionXLInpaintPipeline", "sdxl"),
        ("FluxPipeline", "flux"),
        ("diffusers.FluxImg2ImgPipeline", "flux"),
    ],
)
def test_a_class_has_its_family(component_type: str, family: str) -> None:
    assert family_of(component_type, "any/model").name == family


@pytest.mark.parametrize(
    ("model_name", "family"),
    [
        ("stable-diffusion-v1-5/stable-diffusion-v1-5", "sd15"),
        ("stabilityai/stable-diffusion-xl-base-1.0", "sdxl"),
        ("RunDiffusion/Juggernaut-XL-v9", "sdxl"),
        ("black-forest-labs/FLUX.1-dev", "flux"),
        ("/models/portrait", "sd15"),
    ],
)
@pytest.mark.parametrize("generic", ["DiffusionPipeline", "AutoPipelineForImage2Image"])
def test_a_generic_class_takes_its_family_from_the_model_id(
    generic: str, model_name: str, family: str
) -> None:
    assert family_of(generic, model_name).name == family


@pytest.mark.parametrize(
    "component_type",
    [
        "HunyuanVideoPipeline",
        "StableDiffusion3Pipeline",
        "StableDiffusionUpscalePipeline",
        "FluxFillPipeline",
        "transformers.pipeline",
    ],
)
def test_a_class_that_no_stand_in_fits_is_refused_by_name(component_type: str) -> None:
    with pytest.raises(WorkflowError, match="cannot be rehearsed yet") as caught:
        family_of(component_type, "black-forest-labs/FLUX.1-dev")
    assert component_type.split(".")[-1] in str(caught.value)
    assert any("FLUX.1" in hint for hint in caught.value.hints)


def test_no_class_belongs_to_two_families() -> None:
    names = [name for family in FAMILIES for name in family.pipelines]
    assert len(names) == len(set(names))


def test_importing_the_package_imports_no_torch() -> None:
    code = (
        "import sys, dw.rehearsal as r; r.family_of('FluxPipeline', '');"
        "sys.exit(bool({'torch', 'diffusers', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

from __future__ import annotations

import collections

import diffusers
import pytest
import torch
import transformers

from dw.engine.python import resolve
from dw.errors import TrustWorkflow, WorkflowError


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FluxPipeline", diffusers.FluxPipeline),
        ("diffusers.FluxPipeline", diffusers.FluxPipeline),
        ("transformers.T5EncoderModel", transformers.T5EncoderModel),
        ("torch.bfloat16", torch.bfloat16),
        ("diffusers.hooks.LayerSkipConfig", diffusers.LayerSkipConfig),
    ],
)
def test_names_stand_for_python_objects(name: str, value: object) -> None:
    assert resolve.python_class(name) is value


def test_a_package_that_is_not_known_is_not_imported() -> None:
    with pytest.raises(WorkflowError, match="which is not in the known packages") as caught:
        resolve.python_class("subprocess.Popen")
    assert caught.value.remedies == (TrustWorkflow(),)


def test_trust_allows_it() -> None:
    found = resolve.python_class("collections.OrderedDict", trust=True)
    assert found is collections.OrderedDict


def test_a_missing_name_is_told_with_the_nearest() -> None:
    with pytest.raises(WorkflowError, match="did you mean 'FluxPipeline'"):
        resolve.pipeline_class("FluxPipelin")


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (None, torch.float32),
        ("torch.float16", torch.float16),
        ("bfloat16", torch.bfloat16),
        (torch.float64, torch.float64),
    ],
)
def test_dtypes(value: object, dtype: torch.dtype) -> None:
    assert resolve.dtype(value) is dtype


@pytest.mark.parametrize("value", ["float61", "auto", "nn", 16])
def test_what_is_no_dtype_is_refused(value: object) -> None:
    with pytest.raises(WorkflowError, match="dtype"):
        resolve.dtype(value)


@pytest.mark.parametrize(
    ("generic", "model", "expected"),
    [
        ("DiffusionPipeline", "FluxPipeline", "FluxPipeline"),
        ("FluxImg2ImgPipeline", "FluxPipeline", "FluxImg2ImgPipeline"),
        ("AutoPipelineForText2Image", "StableDiffusionXLPipeline", "StableDiffusionXLPipeline"),
        ("AutoPipelineForText2Image", "FluxImg2ImgPipeline", "FluxPipeline"),
        ("AutoPipelineForImage2Image", "FluxPipeline", "FluxImg2ImgPipeline"),
        ("AutoPipelineForInpainting", "StableDiffusionPipeline", "StableDiffusionInpaintPipeline"),
    ],
)  # fmt: skip
def test_generic_classes_become_the_models_own(generic: str, model: str, expected: str) -> None:
    found = resolve.concrete_class(resolve.pipeline_class(generic), model)
    assert found.__name__ == expected


def test_an_auto_class_without_a_relative_says_so() -> None:
    auto = resolve.pipeline_class("AutoPipelineForInpainting")
    with pytest.raises(WorkflowError, match="does not support models of WanPipeline"):
        resolve.concrete_class(auto, "WanPipeline")

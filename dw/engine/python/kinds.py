"""Kinds: what the classes that a workflow names may be, judged by what they are derived from.

A class of a known package is not harmless for that: those packages also have classes that start
programs, read and write files or load pickles when they are made. So the list is of what may be
made. Base classes are compared by their full names, as importing them all takes a second.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import torch

from dw.workflow.checks.modules import FUNCTIONS, MODULES

Bases = frozenset[str]

_PIPELINES: Bases = frozenset(
    (
        "diffusers.modular_pipelines.modular_pipeline.ModularPipeline",
        "diffusers.pipelines.auto_pipeline.AutoPipelineForImage2Image",
        "diffusers.pipelines.auto_pipeline.AutoPipelineForInpainting",
        "diffusers.pipelines.auto_pipeline.AutoPipelineForText2Image",
        "diffusers.pipelines.pipeline_utils.DiffusionPipeline",
    )
)
_SCHEDULERS: Bases = frozenset(("diffusers.schedulers.scheduling_utils.SchedulerMixin",))
_MODELS: Bases = frozenset(
    (
        "diffusers.models.auto_model.AutoModel",
        "diffusers.models.modeling_utils.ModelMixin",
        "transformers.modeling_utils.PreTrainedModel",
        "transformers.models.auto.auto_factory._BaseAutoModelClass",
    )
)
_PROCESSORS: Bases = frozenset(
    (
        "transformers.feature_extraction_utils.FeatureExtractionMixin",
        "transformers.image_processing_base.ImageProcessingMixin",
        "transformers.models.auto.feature_extraction_auto.AutoFeatureExtractor",
        "transformers.models.auto.image_processing_auto.AutoImageProcessor",
        "transformers.models.auto.processing_auto.AutoProcessor",
        "transformers.models.auto.tokenization_auto.AutoTokenizer",
        "transformers.models.auto.video_processing_auto.AutoVideoProcessor",
        "transformers.processing_utils.ProcessorMixin",
        "transformers.tokenization_utils_base.PreTrainedTokenizerBase",
        "transformers.video_processing_utils.BaseVideoProcessor",
    )
)
_GUIDERS: Bases = frozenset(("diffusers.guiders.guider_utils.BaseGuidance",))
_QUANTIZATIONS: Bases = frozenset(
    (
        "diffusers.quantizers.pipe_quant_config.PipelineQuantizationConfig",
        "diffusers.quantizers.quantization_config.QuantizationConfigMixin",
        "transformers.utils.quantization_config.QuantizationConfigMixin",
    )
)
_QUANTIZATION_TYPES: Bases = frozenset(
    ("torchao.core.config.AOBaseConfig", "torchao.quantization.granularity.Granularity")
)
_CONFIGS: Bases = frozenset(
    (
        "diffusers.configuration_utils.ConfigMixin",
        "transformers.configuration_utils.PreTrainedConfig",
        "transformers.generation.configuration_utils.GenerationConfig",
    )
)
_BLOCKS: Bases = frozenset(("diffusers.modular_pipelines.modular_pipeline.ModularPipelineBlocks",))
_DIFFUSERS_MODELS: Bases = frozenset(("diffusers.models.modeling_utils.ModelMixin",))

_CONFIGURATION = re.compile(
    r"diffusers\.(guiders|hooks|models|modular_pipelines\.\w+|pipelines|quantizers)\.[\w.]+"
)
"""The modules of diffusers whose dataclasses configure a call."""

_ATTENTION = re.compile(r"\w*(Attn|Attention)Processor\w*")


def is_pipeline(found: Any) -> bool:
    """Whether it is loaded and then called: a pipeline, or a model or processor of transformers."""
    of_transformers = _module(found).partition(".")[0] == "transformers"
    is_function = of_transformers and f"transformers.{_name(found)}" in FUNCTIONS
    is_called = of_transformers and _is_from(found, _MODELS | _PROCESSORS)
    return is_function or is_called or _is_from(found, _PIPELINES)


def is_scheduler(found: Any) -> bool:
    return _is_from(found, _SCHEDULERS)


def is_component(found: Any) -> bool:
    """Whether it is loaded as a part of a pipeline."""
    return _is_from(found, _MODELS | _PROCESSORS | _SCHEDULERS | _GUIDERS)


def is_quantization(found: Any) -> bool:
    return _is_from(found, _QUANTIZATIONS)


def is_quantization_type(found: Any) -> bool:
    """Whether it is the type of a quantization, an argument of its config."""
    return isinstance(found, torch.dtype) or _is_from(found, _QUANTIZATION_TYPES)


def is_attention_processor(found: Any) -> bool:
    is_named = _ATTENTION.fullmatch(_name(found)) is not None
    return isinstance(found, type) and is_named and _module(found).startswith("diffusers.models.")


def is_object(found: Any) -> bool:
    """Whether a workflow may make an object of it, out of arguments, a file or a result. A model
    of transformers is loaded, not made: its config may name another model."""
    if found is torch.Generator:
        return True
    is_made = _is_from(found, _SCHEDULERS | _GUIDERS | _QUANTIZATIONS | _DIFFUSERS_MODELS)
    return is_made or _is_config(found) or _is_dataclass(found)


def is_known(found: Any) -> bool:
    """Whether it is of any of these kinds."""
    return any(
        is_kind(found)
        for is_kind in (
            *(is_pipeline, is_component, is_quantization, is_quantization_type),
            *(is_attention_processor, is_object),
        )
    )


def is_own(found: Any) -> bool:
    """Whether a known package defines it."""
    return _module(found).partition(".")[0] in MODULES


def _is_config(found: Any) -> bool:
    return _is_from(found, _CONFIGS) and not _is_from(found, _PIPELINES | _BLOCKS)


def _is_dataclass(found: Any) -> bool:
    is_one = isinstance(found, type) and dataclasses.is_dataclass(found)
    is_output = issubclass(found, dict) if isinstance(found, type) else False
    return is_one and not is_output and _CONFIGURATION.fullmatch(_module(found)) is not None


def _is_from(found: Any, bases: Bases) -> bool:
    names = {f"{_module(base)}.{_name(base)}" for base in getattr(found, "__mro__", ())}
    return isinstance(found, type) and not bases.isdisjoint(names)


def _module(found: Any) -> str:
    return str(getattr(found, "__module__", ""))


def _name(found: Any) -> str:
    return str(getattr(found, "__qualname__", ""))

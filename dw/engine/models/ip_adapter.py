"""The image encoder of an IP-Adapter, which is a component of the pipeline."""

from __future__ import annotations

from dw.workflow.format.adapters import IpAdapter
from dw.workflow.format.pipeline import Component, Pipeline


def encoder_of(adapter: IpAdapter, pipeline: Pipeline) -> Component | None:
    """The encoder of its images, as a workflow would write it; None: it needs none."""
    if adapter.encoder is None:
        return None
    model_name, subfolder = adapter.encoder
    is_sd3 = "StableDiffusion3" in pipeline.configuration.component_type
    kind = "SiglipVisionModel" if is_sd3 else "CLIPVisionModelWithProjection"
    return Component.model_validate(
        {
            "configuration": {"component_type": f"transformers.{kind}"},
            "from_pretrained_arguments": {"model_name": model_name, "subfolder": subfolder},
        }
    )

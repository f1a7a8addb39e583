"""What a pipeline or a component is, and how it is placed: the `configuration` objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from dw.workflow.modular import ComponentsManager, LoadComponents
from dw.workflow.problem import Finding
from dw.workflow.scalars import AttentionBackend, Device, Many
from dw.workflow.section import Section, words
from dw.workflow.step_cache import StepCache, TeaCache


class VaeSettings(Section):
    closed = True
    later = words("channels_last")

    enable_slicing: bool = Field(False, description="decode a batch one image at a time")
    enable_tiling: bool = Field(False, description="decode large images tile by tile")
    torch_dtype: str | None = Field(None, description="dtype of the vae, such as torch.float32")

    @model_validator(mode="before")
    @classmethod
    def _flatten(cls, data: Any) -> Any:
        """Some files nest the settings one level deeper, under `configuration`."""
        if isinstance(data, dict) and isinstance(nested := data.get("configuration"), dict):
            return {**data, **nested}
        return data

    @classmethod
    def nested(cls, data: Mapping[str, Any], /) -> dict[str, type[Section]]:
        return {"configuration": cls} if "configuration" in data else {}

    @classmethod
    def schema_extra(cls, _further: dict[str, Any], /) -> dict[str, Any]:
        return {"configuration": {"$ref": f"#/$defs/{cls.__name__}"}}


class ComponentSettings(Section):
    closed = True
    later = words("enable_forward_chunking channels_last attn_processor_type")

    torch_dtype: str | None = Field(None, description="dtype of the component: torch.float16, ...")


class Configuration(Section):
    """What the pipeline is and how it is placed."""

    closed = True
    later = words(
        "exclude_from_cpu_offload group_offload preserve_device_placement do_not_send_to_device "
        "enable_layerwise_casting pre_load_modules components sdnq_optimize quantization_config"
    )

    component_type: str = Field(description="pipeline class: a name in diffusers, or a dotted name")
    device: Device | None = Field(
        None, description="auto, cpu, mps, cuda or cuda:N; default: the best one there is"
    )
    offload: Literal["model", "sequential"] | None = Field(
        None, description="keep weights in host memory, whole models or layer by layer, until used"
    )
    vae: VaeSettings | None = Field(None, description="settings of the vae")
    unet: ComponentSettings | None = Field(None, description="settings of the unet")
    transformer: ComponentSettings | None = Field(None, description="settings of the transformer")
    transformer_2: ComponentSettings | None = Field(None, description="of the second transformer")
    text_encoder: ComponentSettings | None = Field(None, description="settings of the text encoder")
    text_encoder_2: ComponentSettings | None = Field(None, description="of the second text encoder")
    text_encoder_3: ComponentSettings | None = Field(None, description="of the third text encoder")
    image_encoder: ComponentSettings | None = Field(None, description="of the image encoder")
    load_components: LoadComponents | None = Field(
        None, description="of a modular pipeline: the components to load, and their dtypes"
    )
    configs: dict[str, Any] = Field(
        default_factory=dict, description="of a modular pipeline: settings of its blocks"
    )
    components_manager: ComponentsManager | None = Field(
        None, description="of a modular pipeline: moves components to the device when they run"
    )
    shared_components: Many[str] = Field((), description="the same as beside configuration")
    reused_components: Many[str] = Field((), description="the same as beside configuration")
    generate: bool = Field(
        False, description="call `generate` of a language model; gives `generated_ids`"
    )
    inversion: bool = Field(
        False,
        description="call `invert`, for pipelines that have it; gives `inverted_latents`, "
        "`image_latents` and `latent_image_ids`",
    )
    no_generator: bool = Field(False, description="call the pipeline without a seeded generator")
    cache: StepCache | None = Field(None, description="steps reuse what earlier ones computed")
    teacache: TeaCache | None = Field(None, description="the step cache TeaCache; FLUX.1 only")
    attention_backend: AttentionBackend | None = Field(
        None, description="how attention is computed: native, flash, sage, xformers, ..."
    )
    prompt_weighting: bool = Field(
        False, description="(more:1.3), [less] and BREAK in the prompt count; FLUX.1 only"
    )
    enable_attention_slicing: bool = Field(False, description="compute attention in slices")
    disable_attention_slicing: bool = Field(False, description="never compute attention in slices")

    @property
    def component_dtypes(self) -> dict[str, str]:
        """Component name to dtype string, of the components with a block here, the vae included."""
        blocks = ((name, getattr(self, name)) for name in type(self).model_fields)
        return {
            name: block.torch_dtype
            for name, block in blocks
            if isinstance(block, ComponentSettings | VaeSettings) and block.torch_dtype is not None
        }

    @classmethod
    def conflicts(cls, data: Mapping[str, Any], /) -> Iterator[Finding]:
        enable, disable = "enable_attention_slicing", "disable_attention_slicing"
        if data.get(enable) is True and data.get(disable) is True:
            message = f"{enable!r} and {disable!r} exclude each other"
            yield Finding((disable,), message, at_key=True)
        if data.get("cache") and data.get("teacache") is not None:
            message = "'cache' and 'teacache' exclude each other"
            yield Finding(("teacache",), message, at_key=True)


class ComponentConfiguration(Section):
    closed = True
    later = words(
        "device preserve_device_placement do_not_send_to_device group_offload "
        "enable_layerwise_casting pre_load_modules sdnq_optimize quantization_config"
    )

    component_type: str = Field(description="class: a name in diffusers, or a dotted name")

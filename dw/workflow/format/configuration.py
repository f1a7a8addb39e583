"""Configuration: the class of a pipeline or a component, and its placement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.modular import ComponentsManager, LoadComponents
from dw.workflow.format.placement import (
    GroupOffload,
    LayerwiseCasting,
    ModuleGroupOffload,
    ModuleSettings,
    PipelineGroupOffload,
    Quantization,
    exclusive,
)
from dw.workflow.format.scalars import AttentionBackend, DeviceName, Many, Number
from dw.workflow.format.section import Section, words
from dw.workflow.format.step_cache import StepCache, TeaCache


class ComponentSettings(Section):
    """Settings of one component."""

    closed = True

    torch_dtype: str | None = Field(None, description="dtype of the component: torch.float16, ...")

    @property
    def switches(self) -> dict[str, Any]:
        """Name to value of what is set for a call and reset after it."""
        values = {n: getattr(self, n) for n in type(self).model_fields if n != "torch_dtype"}
        return {name: value for name, value in values.items() if value}


class TransformerSettings(ComponentSettings):
    """Settings of a transformer."""

    attn_processor_type: str | None = Field(None, description="class that computes the attention")


class UnetSettings(TransformerSettings):
    """Settings of a UNet."""

    enable_forward_chunking: bool = Field(False, description="compute feed-forward layers in parts")
    channels_last: bool = Field(False, description="lay the weights out with the channels last")


class VaeSettings(ComponentSettings):
    """Settings of a VAE, for less memory."""

    enable_slicing: bool = Field(False, description="decode a batch one image at a time")
    enable_tiling: bool = Field(False, description="decode large images tile by tile")
    channels_last: bool = Field(False, description="lay the weights out with the channels last")

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


class FreeU(Section):
    """Rescales what the decoder of a UNet gets, after Si et al., "FreeU: Free Lunch in Diffusion
    U-Net", 2023."""

    closed = True

    s1: Number = Field(description="factor of the skip connections in the first stage")
    s2: Number = Field(description="factor of the skip connections in the second stage")
    b1: Number = Field(description="factor of the backbone in the first stage")
    b2: Number = Field(description="factor of the backbone in the second stage")


class PlacedConfig(Section):
    """The class of a pipeline or a component, and its placement."""

    closed = True

    component_type: str = Field(description="class: a name in diffusers, or a dotted name")
    device: DeviceName | None = Field(
        None, description="auto, cpu, mps, cuda or cuda:N; default: the pipeline's"
    )
    preserve_device_placement: bool = Field(False, description="leave it where its loader put it")
    do_not_send_to_device: bool = Field(False, description="old name of preserve_device_placement")
    group_offload: GroupOffload | None = Field(
        None, description="keep groups of its layers in host memory until they run"
    )
    enable_layerwise_casting: LayerwiseCasting | None = Field(
        None, description="keep its weights in a small dtype and cast each layer when it runs"
    )
    quantization_config: Quantization | None = Field(
        None, description="quantize the weights while they are loaded"
    )
    pre_load_modules: Many[str] = Field(
        (), description="modules to import before it is loaded, such as sdnq"
    )

    @property
    def stays(self) -> bool:
        """Whether it stays on the device where its loader put it."""
        return self.preserve_device_placement or self.do_not_send_to_device

    @classmethod
    def conflicts(cls, data: Mapping[str, Any], /) -> Diagnostics:
        if (old := "do_not_send_to_device") in data:
            message = f"{old!r} is the old name of 'preserve_device_placement'"
            yield DataDiagnostic((old,), message, "warning", at_key=True)


class Configuration(PlacedConfig):
    """The pipeline's class, and its placement."""

    gathered = words("others")

    component_type: str = Field(description="pipeline class: a name in diffusers, or a dotted name")
    device: DeviceName | None = Field(
        None, description="auto, cpu, mps, cuda or cuda:N; default: the setting device"
    )
    offload: Literal["model", "sequential"] | None = Field(
        None, description="keep weights in host memory, whole models or layer by layer, until used"
    )
    exclude_from_cpu_offload: Many[str] = Field(
        (), description="with offload sequential: components that stay on the device"
    )
    group_offload: PipelineGroupOffload | None = Field(
        None, description="keep groups of the layers of all components in host memory until used"
    )
    components: dict[str, ModuleSettings] = Field(
        default_factory=dict,
        description="settings of components, or of modules in them by dotted path",
    )
    sdnq_optimize: Many[str] = Field(
        (), description="components quantized by SDNQ that multiply in the small dtype (CUDA)"
    )
    vae: VaeSettings | None = Field(None, description="settings of the vae")
    unet: UnetSettings | None = Field(None, description="settings of the unet")
    transformer: TransformerSettings | None = Field(None, description="settings of the transformer")
    transformer_2: TransformerSettings | None = Field(
        None, description="settings of the second transformer"
    )
    text_encoder: ComponentSettings | None = Field(None, description="settings of the text encoder")
    text_encoder_2: ComponentSettings | None = Field(
        None, description="settings of the second text encoder"
    )
    text_encoder_3: ComponentSettings | None = Field(
        None, description="settings of the third text encoder"
    )
    image_encoder: ComponentSettings | None = Field(
        None, description="settings of the image encoder"
    )
    load_components: LoadComponents | None = Field(
        None, description="modular pipelines: the components to load, and their dtypes"
    )
    configs: dict[str, Any] = Field(
        default_factory=dict, description="modular pipelines: settings of the blocks"
    )
    components_manager: ComponentsManager | None = Field(
        None, description="modular pipelines: when components move to the device"
    )
    shared_components: Many[str] = Field((), description="the same as beside configuration")
    reused_components: Many[str] = Field((), description="the same as beside configuration")
    generate: bool = Field(
        False, description="call `generate` of a language model; gives `generated_ids`"
    )
    inversion: bool = Field(
        False,
        description="call `invert`, for pipelines that have it; gives `inverted_latents`, "
        "`image_latents` and `latent_image_ids`, or the names that the pipeline gives",
    )
    others: dict[str, ComponentSettings] = Field(
        default_factory=dict,
        description="settings of other components, each under its own name",
    )
    no_generator: bool = Field(False, description="call the pipeline without a seeded generator")
    cache: StepCache | None = Field(None, description="reuse computations of earlier steps")
    teacache: TeaCache | None = Field(
        None, description="skip steps whose input hardly changes; FLUX.1 only"
    )
    attention_backend: AttentionBackend | None = Field(
        None, description="backend of the attention: native, flash, sage, xformers, ..."
    )
    prompt_weighting: bool = Field(
        False, description="apply prompt weights: (more:1.3), [less] and BREAK; FLUX.1 only"
    )
    freeu: FreeU | None = Field(None, description="rescale the parts of a UNet; SD and SDXL")
    enable_attention_slicing: bool = Field(False, description="compute attention in slices")
    disable_attention_slicing: bool = Field(False, description="never compute attention in slices")

    @property
    def settings(self) -> dict[str, ComponentSettings]:
        """Component name to its settings, of the components with a block here."""
        blocks = {name: getattr(self, name) for name in type(self).model_fields} | self.others
        return {n: block for n, block in blocks.items() if isinstance(block, ComponentSettings)}

    @property
    def component_dtypes(self) -> dict[str, str]:
        """Component name to dtype string, of the components that have one here."""
        blocks = self.settings.items()
        return {name: block.torch_dtype for name, block in blocks if block.torch_dtype is not None}

    @model_validator(mode="before")
    @classmethod
    def _gather_others(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "others" in data:
            return data
        return {**data, "others": {name: data[name] for name in cls.nested(data)}}

    @classmethod
    def nested(cls, data: Mapping[str, Any], /) -> dict[str, type[Section]]:
        found = (n for n, v in data.items() if isinstance(v, dict) and v.keys() == {"torch_dtype"})
        return {name: ComponentSettings for name in found if name not in cls.model_fields}

    @classmethod
    def conflicts(cls, data: Mapping[str, Any], /) -> Diagnostics:
        yield from super().conflicts(data)
        yield from exclusive(data, "enable_attention_slicing", "disable_attention_slicing")
        yield from exclusive(data, "offload", "group_offload")
        if data.get("cache") and data.get("teacache") is not None:  # empty, it has its defaults
            message = "'cache' and 'teacache' exclude each other"
            yield DataDiagnostic(("teacache",), message, at_key=True)
        if data.get("exclude_from_cpu_offload") and data.get("offload") != "sequential":
            key, message = "exclude_from_cpu_offload", "needs 'offload' 'sequential'; it is ignored"
            yield DataDiagnostic((key,), f"{key!r} {message}", "warning", at_key=True)
        components = data.get("components")
        for name, entry in components.items() if isinstance(components, dict) else ():
            if data.get("offload") and isinstance(entry, dict) and entry.get("group_offload"):
                message = f"'offload' and the 'group_offload' of {name!r} exclude each other"
                yield DataDiagnostic(("components", name, "group_offload"), message, at_key=True)


class ComponentConfiguration(PlacedConfig):
    """The class of a component that is loaded on its own, and its placement. With
    `preserve_device_placement` the pipeline places it."""

    group_offload: ModuleGroupOffload | None = Field(
        None, description="keep groups of its layers in host memory until they run"
    )

"""Pipeline step: what is loaded, its adapters, and the arguments of its call."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from dw.workflow.builtin import is_builtin
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.adapters import IpAdapter, Lora
from dw.workflow.format.chain import Chain, check_chain
from dw.workflow.format.configuration import ComponentConfiguration, Configuration, PlacedConfig
from dw.workflow.format.placement import (
    GroupOffload,
    LayerwiseCasting,
    ModuleGroupOffload,
    PipelineGroupOffload,
    Quantization,
)
from dw.workflow.format.scalars import Many, Seed, Text
from dw.workflow.format.section import Section, words
from dw.workflow.json_path import spell_value
from dw.workflow.media import is_url

OVERRIDES = words(
    "controlnet vae unet transformer text_encoder tokenizer image_encoder feature_extractor "
    "safety_checker prompt_enhancer prompt_enhancer_head processor latent_upsampler model"
)
"""Names of component overrides; `_2`, `_3`, ... may follow. Any other key whose object has
`from_pretrained_arguments` is one as well."""

MULTI_CONTROLNET = "diffusers.models.controlnets.multicontrolnet.MultiControlNetModel"
_NUMBER = re.compile(r"_[2-9]$")
_SOURCES = ("model_name", "from_single_file", "task")


class Loadable(Section):
    """A pipeline or a component override: both are loaded from a source."""

    configuration: PlacedConfig = Field(description="what it is and how it is placed")
    from_pretrained_arguments: dict[str, Any] = Field(
        description="model_name (a hub id, a folder, or a model that comes with dw, as "
        "`builtin:shapes`) or from_single_file, and arguments of from_pretrained: torch_dtype, "
        "variant, subfolder, ...; allow_missing_weights, allow_unused_weights: true accepts "
        "weights that the model has and its files lack (they are random), or the other way round"
    )
    group_offload: GroupOffload | None = Field(None, description="the same as in configuration")
    enable_layerwise_casting: LayerwiseCasting | None = Field(
        None, description="the same as in configuration"
    )
    quantization_config: Quantization | None = Field(
        None, description="the same as in configuration"
    )

    @property
    def grouping(self) -> GroupOffload | None:
        return self.group_offload or self.configuration.group_offload

    @property
    def casting(self) -> LayerwiseCasting | None:
        return self.enable_layerwise_casting or self.configuration.enable_layerwise_casting

    @property
    def quantization(self) -> Quantization | None:
        return self.quantization_config or self.configuration.quantization_config

    @classmethod
    def conflicts(cls, data: Mapping[str, Any], /) -> Diagnostics:
        arguments = data.get("from_pretrained_arguments")
        if not isinstance(arguments, dict):
            return
        given = [name for name in _SOURCES if name in arguments]
        for name in given:
            if not (isinstance(arguments[name], str) and arguments[name]):
                message = f"{name!r} must be a string, got {spell_value(arguments[name])}"
                yield DataDiagnostic(("from_pretrained_arguments", name), message)
        for name in given[1:]:
            message = (
                f"a model comes from one source: {given[0]!r} is given, so {name!r} is not allowed"
            )
            yield DataDiagnostic(("from_pretrained_arguments", name), message, at_key=True)
        for name in ("allow_missing_weights", "allow_unused_weights"):
            if not isinstance(arguments.get(name, False), bool):
                message = f"{name!r} must be true or false, got {spell_value(arguments[name])}"
                yield DataDiagnostic(("from_pretrained_arguments", name), message)
        if (name := "quantization_config") in arguments:
            message = f"{name!r} goes beside 'from_pretrained_arguments'"
            yield DataDiagnostic(("from_pretrained_arguments", name), message, at_key=True)


class Component(Loadable):
    """A component that is loaded on its own and replaces the pipeline's."""

    closed = True

    configuration: ComponentConfiguration = Field(description="what the component is")
    group_offload: ModuleGroupOffload | None = Field(
        None, description="the same as in configuration"
    )

    @model_validator(mode="before")
    @classmethod
    def _is_one(cls, data: Any) -> Any:
        if isinstance(data, list):
            raise PydanticCustomError(
                "several",
                "must be one object (several ControlNets are one model, which the save_pretrained "
                "of {multi} writes)",
                {"multi": MULTI_CONTROLNET},
            )
        return data

    @classmethod
    def conflicts(cls, data: Mapping[str, Any], /) -> Diagnostics:
        yield from super().conflicts(data)
        arguments = data.get("from_pretrained_arguments")
        if (
            isinstance(arguments, dict)
            and not {"model_name", "from_single_file"} & arguments.keys()
        ):
            message = "a component needs 'model_name' or 'from_single_file'"
            yield DataDiagnostic(("from_pretrained_arguments",), message)


class SchedulerConfiguration(Section):
    """Which scheduler."""

    closed = True

    scheduler_type: str = Field(description="class: a name in diffusers, or a dotted name")


class Scheduler(Section):
    """Replaces the pipeline's scheduler by one made from its configuration."""

    closed = True

    configuration: SchedulerConfiguration | None = Field(None, description="which scheduler")
    from_config_args: dict[str, Any] = Field(
        default_factory=dict, description="values that replace those of the configuration"
    )
    shift: float | None = Field(
        None, gt=0, description="shift of the timesteps, for flow matching; default: the model's"
    )

    @property
    def scheduler_type(self) -> str | None:
        return self.configuration.scheduler_type if self.configuration else None

    @classmethod
    def conflicts(cls, data: Mapping[str, Any], /) -> Diagnostics:
        if data.get("configuration") is None and data.get("shift") is None:
            yield DataDiagnostic((), "a scheduler needs 'configuration' or 'shift'")


class RemoteTextEncoder(Section):
    """A service that encodes prompts instead of the pipeline's text encoder."""

    closed = True

    url: Text = Field(
        description="http or https URL to which prompts are posted; it returns tensors"
    )

    @classmethod
    def conflicts(cls, data: Mapping[str, Any], /) -> Diagnostics:
        url = data.get("url")
        if isinstance(url, str) and not is_url(url):
            yield DataDiagnostic(
                ("url",), f"'url' must be a http or https URL, got {spell_value(url)}"
            )


class Pipeline(Loadable):
    """Loads a diffusers pipeline, reusing components in memory, and calls it."""

    accepted = OVERRIDES
    gathered = words("components")

    configuration: Configuration = Field(description="what the pipeline is and how it is placed")
    arguments: dict[str, Any] = Field(description="arguments of the pipeline's call")
    seed: Seed | None = Field(None, description="overrides the step's seed")
    group_offload: PipelineGroupOffload | None = Field(
        None, description="the same as in configuration"
    )
    scheduler: Scheduler | None = Field(None, description="replaces the model's scheduler")
    audio_scheduler: Scheduler | None = Field(
        None, description="replaces the scheduler of the audio, where the pipeline has one"
    )
    loras: Many[Lora] = Field((), description="LoRAs, applied together")
    remote_text_encoder: RemoteTextEncoder | None = Field(
        None, description="encode the prompt on another machine"
    )
    ip_adapter: IpAdapter | None = Field(None, description="an image as a prompt")
    chain: Chain | None = Field(None, description="one long video from several calls")
    shared_components: Many[str] = Field(
        (), description="names of components that later steps may reuse"
    )
    reused_components: Many[str] = Field(
        (), description="names of components taken from an earlier step that shares them"
    )
    components: dict[str, Component] = Field(
        default_factory=dict,
        description="components from another source, each under its own name: vae, "
        "transformer, text_encoder_2, controlnet, ...",
    )

    @property
    def shared(self) -> tuple[str, ...]:
        return (*self.shared_components, *self.configuration.shared_components)

    @property
    def reused(self) -> tuple[str, ...]:
        return (*self.reused_components, *self.configuration.reused_components)

    @property
    def is_builtin(self) -> bool:
        """Whether everything it loads comes with dw: small models, which need no stand-ins."""
        parts = (self, *self.components.values())
        names = [str(part.from_pretrained_arguments.get("model_name")) for part in parts]
        names += [lora.model_name for lora in self.loras]
        return self.ip_adapter is None and all(map(is_builtin, names))

    @property
    def schedulers(self) -> dict[str, Scheduler]:
        """Component name to the scheduler that replaces it."""
        given = {"scheduler": self.scheduler, "audio_scheduler": self.audio_scheduler}
        return {name: scheduler for name, scheduler in given.items() if scheduler is not None}

    @classmethod
    def conflicts(cls, data: Mapping[str, Any], /) -> Diagnostics:
        yield from super().conflicts(data)
        yield from check_chain(data)
        yield from _check_offload(data, cls.nested(data))
        if "components" in data:
            yield DataDiagnostic(
                ("components",), "'components' goes inside 'configuration'", at_key=True
            )
        arguments = data.get("arguments")
        if not isinstance(arguments, dict):
            return
        if data.get("remote_text_encoder") and "prompt" not in arguments:
            yield DataDiagnostic(
                ("arguments",), "a remote text encoder needs the argument 'prompt'"
            )
        if data.get("ip_adapter"):
            images = ("ip_adapter_image", "ip_adapter_image_embeds", "ip_adapter_embeds")
            if not any(name in arguments for name in images):
                yield DataDiagnostic(
                    ("arguments",), "an IP-Adapter needs the argument 'ip_adapter_image'"
                )

    @model_validator(mode="before")
    @classmethod
    def _gather_components(cls, data: Any) -> Any:
        if not isinstance(data, dict) or "components" in data:
            return data
        given = {name: data[name] for name in cls.nested(data) if data[name] is not None}
        return {**data, "components": given}

    @classmethod
    def nested(cls, data: Mapping[str, Any], /) -> dict[str, type[Section]]:
        overrides: dict[str, type[Section]] = {}
        for name, value in data.items():
            loads = isinstance(value, dict) and "from_pretrained_arguments" in value
            is_override = loads or _NUMBER.sub("", name) in OVERRIDES
            if is_override and name not in cls.model_fields:
                overrides[name] = Component
        return overrides


def _check_offload(data: Mapping[str, Any], overrides: Iterable[str]) -> Diagnostics:
    """diffusers cannot offload a pipeline when one of its components is offloaded in groups."""
    configuration = data.get("configuration")
    if not (isinstance(configuration, dict) and configuration.get("offload")):
        return
    for name in overrides:
        own = data[name] if isinstance(data[name], dict) else {}
        inside = own.get("configuration")
        holders = [own, *([inside] if isinstance(inside, dict) else [])]
        if any(holder.get("group_offload") for holder in holders):
            message = f"'offload' and the 'group_offload' of {name!r} exclude each other"
            yield DataDiagnostic((name,), message, at_key=True)

"""The workflow format as pydantic models: a valid workflow with its variables filled in.

The field descriptions are the reference of the format. Names of Python objects (`component_type`,
`torch_dtype`, ...) stay strings here; the engine resolves them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dw.workflow.problem import Finding
from dw.workflow.scalars import ContentType, Device, FileName, Many, Name, Number, Seed, Text
from dw.workflow.tree import spell_value


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ACTIONS = ("pipeline", "task", "workflow")
OVERRIDES = _words(
    "vae unet transformer text_encoder tokenizer image_encoder feature_extractor safety_checker "
    "prompt_enhancer prompt_enhancer_head processor latent_upsampler model"
)
"""Component overrides by name; `_2`, `_3`, ... may follow. Any sibling that loads is one, too."""

_NUMBER = re.compile(r"_[2-9]$")
_SOURCES = ("model_name", "from_single_file", "task")
_LATER_ARGUMENTS = ("quantization_config", "device_map", "custom_pipeline", "trust_remote_code")


class Section(BaseModel):
    """One object of the file. Unknown keys are judged by `dw.workflow.keys`, not by pydantic."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", protected_namespaces=())

    closed: ClassVar[bool] = False  # an unknown key is an error, not a note that somebody keeps
    later: ClassVar[frozenset[str]] = frozenset()  # keys of the format that dw cannot honour yet
    accepted: ClassVar[frozenset[str]] = frozenset()  # keys of the format that are no fields

    @classmethod
    def conflicts(cls, data: Mapping[str, Any], /) -> Iterator[Finding]:
        """What is wrong between the keys of one object; the paths begin at that object."""
        del data
        yield from ()

    @classmethod
    def nested(cls, data: Mapping[str, Any], /) -> dict[str, type[Section]]:
        """Keys of `data` that hold further sections without being fields of the model."""
        del data
        return {}


# ------------------------------------------------------------------ what a pipeline is


class VaeSettings(Section):
    closed = True
    later = _words("channels_last")

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


class ComponentSettings(Section):
    closed = True
    later = _words("enable_forward_chunking channels_last attn_processor_type")

    torch_dtype: str | None = Field(None, description="dtype of the component: torch.float16, ...")


class Configuration(Section):
    """What the pipeline is and how it is placed."""

    closed = True
    later = _words(
        "exclude_from_cpu_offload group_offload preserve_device_placement do_not_send_to_device "
        "enable_layerwise_casting pre_load_modules load_components configs components_manager "
        "components attention_backend prompt_weighting cache teacache sdnq_optimize inversion "
        "generate shared_components reused_components quantization_config"
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
    no_generator: bool = Field(False, description="call the pipeline without a seeded generator")
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


class Loads(Section):
    """What pipelines and component overrides have in common: they are loaded from somewhere."""

    from_pretrained_arguments: dict[str, Any] = Field(
        description="model_name (a hub id or a folder) or from_single_file, and arguments of "
        "from_pretrained: torch_dtype, variant, subfolder, ..."
    )

    @classmethod
    def conflicts(cls, data: Mapping[str, Any], /) -> Iterator[Finding]:
        arguments = data.get("from_pretrained_arguments")
        if not isinstance(arguments, dict):
            return
        given = [name for name in _SOURCES if name in arguments]
        for name in given:
            if not (isinstance(arguments[name], str) and arguments[name]):
                message = f"{name!r} must be a string, got {spell_value(arguments[name])}"
                yield Finding(("from_pretrained_arguments", name), message)
        for name in given[1:]:
            message = f"a model comes from one source: {given[0]!r} is given, so {name!r} cannot be"
            yield Finding(("from_pretrained_arguments", name), message, at_key=True)
        for name in _LATER_ARGUMENTS:
            if arguments.get(name):
                message = f"{name!r} is not supported yet"
                yield Finding(("from_pretrained_arguments", name), message, at_key=True)


class ComponentConfiguration(Section):
    closed = True
    later = _words(
        "device preserve_device_placement do_not_send_to_device group_offload "
        "enable_layerwise_casting pre_load_modules sdnq_optimize quantization_config"
    )

    component_type: str = Field(description="class: a name in diffusers, or a dotted name")


class Component(Loads):
    """A component that is loaded by itself and takes the place of the pipeline's own."""

    closed = True
    later = _words("quantization_config group_offload enable_layerwise_casting")

    configuration: ComponentConfiguration = Field(description="what the component is")

    @classmethod
    def conflicts(cls, data: Mapping[str, Any], /) -> Iterator[Finding]:
        yield from super().conflicts(data)
        arguments = data.get("from_pretrained_arguments")
        if (
            isinstance(arguments, dict)
            and not {"model_name", "from_single_file"} & arguments.keys()
        ):
            message = "a component needs 'model_name' or 'from_single_file'"
            yield Finding(("from_pretrained_arguments",), message)


class SchedulerConfiguration(Section):
    closed = True

    scheduler_type: str = Field(description="class: a name in diffusers, or a dotted name")


class Scheduler(Section):
    """Replaces the pipeline's scheduler by one made from its configuration."""

    closed = True

    configuration: SchedulerConfiguration | None = Field(None, description="which scheduler")
    from_config_args: dict[str, Any] = Field(
        default_factory=dict, description="values that replace those of the configuration"
    )
    shift: float | None = Field(None, gt=0, description="timestep shift, for flow matching")

    @property
    def scheduler_type(self) -> str | None:
        return self.configuration.scheduler_type if self.configuration else None

    @classmethod
    def conflicts(cls, data: Mapping[str, Any], /) -> Iterator[Finding]:
        if data.get("configuration") is None and data.get("shift") is None:
            yield Finding((), "'scheduler' needs 'configuration' or 'shift'")


class Lora(Section):
    closed = True

    model_name: Text = Field(description="hub id, folder or file of the LoRA")
    weight_name: str | None = Field(None, description="file name in the repository or folder")
    subfolder: str | None = Field(None, description="folder in the repository")
    adapter_name: str | None = Field(None, description="name of the adapter; default: its number")
    scale: Number = Field(1.0, description="weight of the LoRA")


class Pipeline(Loads):
    later = _words(
        "audio_scheduler controlnet ip_adapter remote_text_encoder shared_components "
        "reused_components chain components quantization_config group_offload"
    )

    accepted = OVERRIDES

    configuration: Configuration = Field(description="what the pipeline is and how it is placed")
    arguments: dict[str, Any] = Field(description="arguments of the pipeline's call")
    seed: Seed | None = Field(None, description="overrides the step's seed")
    scheduler: Scheduler | None = Field(None, description="another scheduler than the model's")
    loras: Many[Lora] = Field((), description="LoRAs, applied together")
    components: dict[str, Component] = Field(
        default_factory=dict,
        description="component overrides; in a file they are siblings of configuration",
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
        return {name: Component for name, value in data.items() if cls._is_override(name, value)}

    @classmethod
    def _is_override(cls, name: str, value: Any) -> bool:
        if name in cls.model_fields or name in cls.later:
            return False
        loads = isinstance(value, dict) and "from_pretrained_arguments" in value
        return loads or _NUMBER.sub("", name) in OVERRIDES


# ------------------------------------------------------------------ what a workflow does


class Task(Section):
    later = _words("pipeline_reference")

    command: Text = Field(description="what to do: resize_center_crop, gather_images, ...")
    arguments: dict[str, Any] | None = Field(None, description="arguments of the command")
    inputs: list[Any] | None = Field(None, description="the command runs once for each of these")

    @classmethod
    def conflicts(cls, data: Mapping[str, Any], /) -> Iterator[Finding]:
        if data.get("arguments") is not None and data.get("inputs") is not None:
            message = "a task takes 'arguments' or 'inputs', not both"
            yield Finding(("inputs",), message, at_key=True)


class SubWorkflow(Section):
    path: Text = Field(description="another workflow file, relative to this one")
    arguments: dict[str, Any] = Field(default_factory=dict, description="values of its variables")

    @classmethod
    def conflicts(cls, data: Mapping[str, Any], /) -> Iterator[Finding]:
        if isinstance(path := data.get("path"), str) and path.startswith("builtin:"):
            yield Finding(("path",), f"{path!r}: built-in workflows are not supported yet")


class Result(Section):
    accepted = _words(
        "sample_rate samplerate audio_sample_rate subtype format compression_level bitrate_mode"
    )

    content_type: ContentType = Field(
        description="MIME type of the files: decides their extension and how they are written"
    )
    save: bool = Field(True, description="write the step's results to files")
    file_base_name: FileName = Field("", description="put before the default file name")
    fps: int = Field(8, gt=0, description="frames per second of a video or a GIF")
    embed_metadata: bool = Field(False, description="store in an image how it was made")


class Step(Section):
    later = _words("pipeline_reference release_pipeline release_models")

    name: Name = Field(description="later steps find the step's results by it")
    seed: Seed | None = Field(None, description="overrides the workflow's seed")
    pipeline: Pipeline | None = Field(None, description="call a diffusers pipeline")
    task: Task | None = Field(None, description="run a command on images or text")
    workflow: SubWorkflow | None = Field(None, description="run another workflow")
    result: Result | None = Field(
        None, description="how results are saved; without it they are kept for later steps only"
    )

    @classmethod
    def conflicts(cls, data: Mapping[str, Any], /) -> Iterator[Finding]:
        given = [name for name in ACTIONS if data.get(name) is not None]
        for name in given[1:]:
            message = f"a step does one thing: it has {given[0]!r}, so {name!r} cannot be"
            yield Finding((name,), message, at_key=True)
        if not given and not cls.later & data.keys():
            yield Finding((), "a step needs one of 'pipeline', 'task' and 'workflow'")


class Workflow(Section):
    id: Name = Field(description="names the workflow and its files")
    description: str | None = Field(None, description="free text")
    variables: dict[str, Any] = Field(
        default_factory=dict, description="the arguments, name to default; its type is the type"
    )
    seed: Seed | None = Field(None, description="default seed; without it each run draws its own")
    timeout: float | None = Field(
        None, gt=0, description="seconds that a run may execute; loading does not count"
    )
    steps: Many[Step] = Field(min_length=1, description="what to do, in order")

"""Placement: offloading, casting, quantization and compilation of models and their modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.scalars import AttentionBackend, DeviceName, Many, Text
from dw.workflow.format.section import Section

AtLeastOne = Annotated[int, Field(ge=1)]


def exclusive(data: Mapping[str, Any], one: str, other: str) -> Diagnostics:
    """Two keys of which only one can be given."""
    if data.get(one) and data.get(other):
        yield DataDiagnostic((other,), f"{one!r} and {other!r} exclude each other", at_key=True)


class GroupOffload(Section):
    """Keeps groups of layers in host memory and moves each to the device when it runs."""

    closed = True

    offload_type: Literal["block_level", "leaf_level"] = Field(
        description="what a group is: block_level (some of the model's blocks), leaf_level (a "
        "single layer: the least memory)"
    )
    onload_device: DeviceName | None = Field(
        None, description="device of the groups that run; default: the pipeline's"
    )
    offload_device: DeviceName | None = Field(
        None, description="device of the groups that do not run; default: cpu"
    )
    num_blocks_per_group: AtLeastOne | None = Field(
        None,
        description="number of blocks in a group, required with block_level; 1 with use_stream",
    )
    non_blocking: bool | None = Field(None, description="copy asynchronously; default: false")
    use_stream: bool | None = Field(
        None, description="copy the next group while one runs (CUDA); default: false"
    )
    record_stream: bool | None = Field(
        None, description="with use_stream: faster, with more memory; default: false"
    )
    low_cpu_mem_usage: bool | None = Field(
        None,
        description="with use_stream: pin host memory when it is needed, not all at once; default: "
        "false",
    )
    offload_to_disk_path: Text | None = Field(
        None, description="folder of the groups that do not run, instead of host memory"
    )

    @classmethod
    def conflicts(cls, data: Mapping[str, Any], /) -> Diagnostics:
        if data.get("offload_type") == "block_level" and data.get("num_blocks_per_group") is None:
            yield DataDiagnostic((), "offload_type 'block_level' needs 'num_blocks_per_group'")


class PipelineGroupOffload(GroupOffload):
    """Group offloading of all components of a pipeline, except some."""

    exclude_modules: Many[str] = Field(
        (), description="names of components that stay on the device"
    )


class ModuleGroupOffload(GroupOffload):
    """Group offloading of one component, or of a module in it."""

    block_modules: Many[str] | None = Field(
        None, description="names of submodules that count as blocks; default: the model's"
    )
    exclude_kwargs: Many[str] | None = Field(
        None, description="names of arguments of its call that are not moved to the device"
    )


class LayerwiseCasting(Section):
    """Keeps weights in a small dtype and casts each layer when it runs."""

    closed = True

    storage_dtype: str = Field(
        "torch.float8_e4m3fn", description="dtype in which the weights are kept"
    )
    compute_dtype: str | None = Field(
        None, description="dtype to which a layer is cast when it runs; default: the component's"
    )
    skip_modules_pattern: Many[str] | None = Field(
        None,
        description="patterns of the names of modules that are not cast; default: the model's",
    )
    non_blocking: bool | None = Field(None, description="cast asynchronously; default: false")


class Compile(Section):
    """Arguments of torch.compile."""

    closed = True

    repeated_blocks: bool = Field(
        False, description="compile the repeated blocks only: much faster to compile"
    )
    mode: Text | None = Field(
        None, description="mode of torch.compile: reduce-overhead, max-autotune, ..."
    )
    fullgraph: bool | None = Field(
        None, description="fail where the graph would break; default: false"
    )
    dynamic: bool | None = Field(
        None, description="make one graph for all sizes; default: when sizes change"
    )
    backend: Text | None = Field(None, description="compiler of the graph; default: inductor")
    options: dict[str, Any] | None = Field(None, description="options of the backend")

    @classmethod
    def conflicts(cls, data: Mapping[str, Any], /) -> Diagnostics:
        yield from exclusive(data, "mode", "options")


class ModuleSettings(Section):
    """Changes of a component, or of a module in it, after it is loaded, in this order."""

    closed = True

    truncate_layers: dict[str, AtLeastOne] = Field(
        default_factory=dict,
        description="dotted path of a list of layers in it, and the number of layers to keep",
    )
    remove_modules: Many[Text] = Field((), description="dotted paths of modules in it to disable")
    group_offload: ModuleGroupOffload | None = Field(
        None, description="keep groups of its layers in host memory until they run"
    )
    enable_tiling: bool | dict[str, Any] | None = Field(
        None, description="VAE: decode in tiles; true, or arguments of its enable_tiling"
    )
    residency: Literal["resident", "on_demand"] = Field(
        "resident",
        description="on_demand: stay in host memory and move to the device for each call",
    )
    device: DeviceName | None = Field(
        None, description="where it runs; default: the pipeline's device"
    )
    attention_backend: AttentionBackend | None = Field(
        None, description="backend of its attention: native, flash, sage, ..."
    )
    compile: Compile | None = Field(None, description="compile it with torch.compile")

    @property
    def is_moved(self) -> bool:
        """Whether it is moved to the device when it runs, instead of staying there."""
        return self.group_offload is not None or self.residency == "on_demand"

    @classmethod
    def conflicts(cls, data: Mapping[str, Any], /) -> Diagnostics:
        if data.get("residency") == "on_demand" and data.get("group_offload"):
            message = "'residency' 'on_demand' and 'group_offload' exclude each other"
            yield DataDiagnostic(("residency",), message, at_key=True)


class QuantizationConfiguration(Section):
    """Which class quantizes."""

    closed = True

    config_type: str = Field(
        description="class: BitsAndBytesConfig, TorchAoConfig, sdnq.SDNQConfig, ..."
    )


class Quantization(Section):
    """Quantizes a component's weights while they are loaded."""

    closed = True

    configuration: QuantizationConfiguration = Field(description="which class quantizes")
    arguments: dict[str, Any] = Field(
        default_factory=dict,
        description="arguments of that class; one that names a class becomes an object of it",
    )

    @property
    def config_type(self) -> str:
        return self.configuration.config_type

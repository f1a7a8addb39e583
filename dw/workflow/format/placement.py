"""Where models live and what is done to them: offloading, casting, quantization, the settings of
single components."""

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
    """Groups of layers live in host memory and visit the device when they run."""

    closed = True

    offload_type: Literal["block_level", "leaf_level"] = Field(
        description="what a group is: block_level (some of the model's blocks), leaf_level (a "
        "single layer: the least memory)"
    )
    onload_device: DeviceName | None = Field(
        None, description="device where groups run; default: the pipeline's"
    )
    offload_device: DeviceName | None = Field(
        None, description="device where groups rest; default: cpu"
    )
    num_blocks_per_group: AtLeastOne | None = Field(
        None,
        description="with block_level, which needs it: number of blocks in a group; 1 with "
        "use_stream",
    )
    non_blocking: bool | None = Field(
        None, description="copy without waiting for the end of it; default: false"
    )
    use_stream: bool | None = Field(
        None, description="copy the next group while one runs (CUDA); default: false"
    )
    record_stream: bool | None = Field(
        None, description="with use_stream: be faster for more memory; default: false"
    )
    low_cpu_mem_usage: bool | None = Field(
        None,
        description="with use_stream: pin host memory when it is needed, not all at once; default: "
        "false",
    )
    offload_to_disk_path: Text | None = Field(
        None, description="folder where groups rest, instead of host memory"
    )

    @classmethod
    def conflicts(cls, data: Mapping[str, Any], /) -> Diagnostics:
        if data.get("offload_type") == "block_level" and data.get("num_blocks_per_group") is None:
            yield DataDiagnostic((), "offload_type 'block_level' needs 'num_blocks_per_group'")


class PipelineGroupOffload(GroupOffload):
    """Group offloading of all components of a pipeline but some."""

    exclude_modules: Many[str] = Field(
        (), description="names of components that stay on the device"
    )


class ModuleGroupOffload(GroupOffload):
    """Group offloading of one component, or of a module in it."""

    block_modules: Many[str] | None = Field(
        None, description="names of submodules that are taken for blocks; default: the model's"
    )
    exclude_kwargs: Many[str] | None = Field(
        None, description="names of arguments of its call that are not moved to the device"
    )


class LayerwiseCasting(Section):
    """Weights are kept in a small dtype, and each layer is cast when it runs."""

    closed = True

    storage_dtype: str = Field(
        "torch.float8_e4m3fn", description="dtype in which the weights are kept"
    )
    compute_dtype: str | None = Field(
        None, description="dtype to which a layer is cast when it runs; default: the component's"
    )
    skip_modules_pattern: Many[str] | None = Field(
        None,
        description="patterns of the names of modules that are left alone; default: the model's",
    )
    non_blocking: bool | None = Field(
        None, description="cast without waiting for the end of it; default: false"
    )


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
    """What is done to a component, or to a module in it, after it is loaded: in this order."""

    closed = True

    truncate_layers: dict[str, AtLeastOne] = Field(
        default_factory=dict,
        description="dotted path of a list of layers in it, to the number of them that is kept",
    )
    remove_modules: Many[Text] = Field(
        (), description="dotted paths of modules in it that then do nothing"
    )
    group_offload: ModuleGroupOffload | None = Field(
        None, description="keep groups of its layers in host memory until they run"
    )
    enable_tiling: bool | dict[str, Any] | None = Field(
        None, description="of a VAE: decode in tiles; true, or arguments of its enable_tiling"
    )
    residency: Literal["resident", "on_demand"] = Field(
        "resident",
        description="on_demand: rest in host memory and visit the device for each call",
    )
    device: DeviceName | None = Field(
        None, description="where it runs; default: the pipeline's device"
    )
    attention_backend: AttentionBackend | None = Field(
        None, description="what computes its attention: native, flash, sage, ..."
    )
    compile: Compile | None = Field(None, description="compile it with torch.compile")

    @property
    def is_moved(self) -> bool:
        """Whether it visits the device instead of living there."""
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
    """A component's weights, quantized while they are loaded."""

    closed = True

    configuration: QuantizationConfiguration = Field(description="which class quantizes")
    arguments: dict[str, Any] = Field(
        default_factory=dict,
        description="arguments of that class; one that names a class becomes an object of it",
    )

    @property
    def config_type(self) -> str:
        return self.configuration.config_type

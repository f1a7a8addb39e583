"""Step caches: denoising steps that reuse what the steps before them computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from dw.errors import did_you_mean
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.scalars import Many, Number
from dw.workflow.format.section import Section, words
from dw.workflow.module_source import constant_names
from dw.workflow.references import is_reference

KEYS = {
    "first_block": words("threshold"),
    "faster": words(
        "spatial_attention_block_skip_range spatial_attention_timestep_skip_range "
        "temporal_attention_block_skip_range temporal_attention_timestep_skip_range "
        "unconditional_batch_skip_range unconditional_batch_timestep_skip_range "
        "tensor_format is_guidance_distilled"
    ),
    "mag": words(
        "threshold num_inference_steps max_skip_steps retention_ratio mag_ratios calibrate"
    ),
    "taylorseer": words(
        "cache_interval max_order disable_cache_before_step disable_cache_after_step"
    ),
    "text_kv": words(""),
}
"""The options of each type of step cache."""

PRESETS = "diffusers.hooks.mag_cache"
"""The module whose constants `NAME_MAG_RATIOS` are the presets of MagCache."""
_SUFFIX = "_MAG_RATIOS"


def presets() -> dict[str, str]:
    """The magnitudes that diffusers knows, such as `flux`, and the constants that hold them."""
    names = [name for name in constant_names(PRESETS) if name.endswith(_SUFFIX)]
    return {name.removesuffix(_SUFFIX).lower(): name for name in names}


def preset(name: str) -> str:
    """`flux` for `flux`, `FLUX` and `FLUX_MAG_RATIOS`."""
    return name.upper().removesuffix(_SUFFIX).lower()


def _ratios(value: Any) -> Any:
    """A list of numbers, a constant's tensor as one, or the name of a preset."""
    if value is None:
        return None
    numbers = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, str) and (preset(value) in presets() or is_reference(value)):
        return preset(value) if not is_reference(value) else value
    is_list = isinstance(numbers, list | tuple) and numbers
    if is_list and all(type(number) in (int, float) for number in numbers):
        return tuple(map(float, numbers))
    context = {
        "known": ", ".join(map(repr, presets())),
        "hint": did_you_mean(preset(value), presets()) if isinstance(value, str) else "",
    }
    raise PydanticCustomError("ratios", "must be a list of numbers or one of {known}", context)


def _range(value: tuple[int, ...]) -> tuple[int, ...]:
    if len(value) != 2 or value[0] >= value[1]:
        raise PydanticCustomError("range", "must be two timesteps, the lower one first")
    return value


_SCHEMAS = [{"type": "string"}, {"type": "array", "items": {"type": "number"}}]
Ratios = Annotated[
    Any,
    AfterValidator(_ratios),
    WithJsonSchema({"anyOf": [*_SCHEMAS, {"type": "null"}]}),
]
Range = Annotated[Many[int], AfterValidator(_range)]


class StepCache(Section):
    """Skips computations whose results hardly differ from those of the step before."""

    closed = True

    type: Literal["first_block", "faster", "mag", "taylorseer", "text_kv"] = Field(
        description="first_block (compares the first block's output), faster (reuses attention), "
        "mag (known magnitudes), taylorseer (extrapolates), text_kv (exact; Nucleus-MoE only)"
    )
    threshold: Number | None = Field(
        None,
        ge=0,
        description="change that is ignored; default: 0.05 for first_block, 0.06 for mag",
    )
    num_inference_steps: int | None = Field(
        None, ge=1, description="number of the call's steps; default: that of its arguments"
    )
    max_skip_steps: int | None = Field(
        None, ge=1, description="largest number of steps skipped in a row; default: 3"
    )
    retention_ratio: Number | None = Field(
        None,
        ge=0,
        le=1,
        description="share of the steps, at the start, that are never skipped; default: 0.2",
    )
    mag_ratios: Ratios = Field(
        None,
        description="magnitudes of the model, as calibrate reports them, or a preset such as flux; "
        "default: those of FLUX.1, for FLUX.1",
    )
    calibrate: bool | None = Field(
        None,
        description="skip nothing and report the mag_ratios of this model and schedule; default: "
        "false",
    )
    cache_interval: int | None = Field(None, ge=1, description="compute each n-th step; default: 5")
    max_order: int | None = Field(None, ge=0, description="order of the extrapolation; default: 1")
    disable_cache_before_step: int | None = Field(
        None, ge=1, description="number of steps at the start that are all computed; default: 3"
    )
    disable_cache_after_step: int | None = Field(
        None, ge=0, description="step from which all are computed; default: none"
    )
    spatial_attention_block_skip_range: int | None = Field(
        None, ge=1, description="compute spatial attention at each n-th step; default: 2"
    )
    spatial_attention_timestep_skip_range: Range | None = Field(
        None, description="timesteps between which it is skipped; default: [-1, 681]"
    )
    temporal_attention_block_skip_range: int | None = Field(
        None, ge=1, description="compute temporal attention at each n-th step; default: 1"
    )
    temporal_attention_timestep_skip_range: Range | None = Field(
        None, description="timesteps between which it is skipped; default: [-1, 681]"
    )
    unconditional_batch_skip_range: int | None = Field(
        None, ge=1, description="compute the negative prompt at each n-th step; default: 5"
    )
    unconditional_batch_timestep_skip_range: Range | None = Field(
        None, description="timesteps between which it is skipped; default: [-1, 641]"
    )
    tensor_format: Literal["BCFHW", "BFCHW", "BCHW"] | None = Field(
        None, description="axes of the model's output; default: BCFHW"
    )
    is_guidance_distilled: bool | None = Field(
        None,
        description="the prompt is not in one batch with a negative prompt; default: as the call "
        "makes it",
    )

    @property
    def settings(self) -> dict[str, Any]:
        """The options that the file sets."""
        return self.model_dump(exclude={"type"}, exclude_none=True)

    @classmethod
    def conflicts(cls, data: Mapping[str, Any], /) -> Diagnostics:
        kind = data.get("type")
        allowed = KEYS.get(kind) if isinstance(kind, str) else None
        if allowed is None:
            return
        for key in data.keys() & (cls.model_fields.keys() - allowed - {"type"}):
            known = f"it takes {', '.join(sorted(allowed))}" if allowed else "it takes no options"
            yield DataDiagnostic(
                (key,), f"{key!r} is not for the cache {kind!r}; {known}", at_key=True
            )
        if data.get("mag_ratios") is not None and data.get("calibrate") is True:
            message = "'calibrate' measures the 'mag_ratios', so they cannot be given"
            yield DataDiagnostic(("mag_ratios",), message, at_key=True)


class TeaCache(Section):
    """Skips steps whose input, modulated by the timestep, hardly differs from that of the step
    before."""

    closed = True

    rel_l1_thresh: Number = Field(
        0.6, ge=0, description="accumulated change from which a step is computed; 0 computes all"
    )
    coefficients: Many[float] | None = Field(
        None,
        min_length=1,
        description="polynomial from changes of the input to changes of the output, highest power "
        "first; default: the variant's",
    )
    variant: Literal["flux"] = Field("flux", description="model whose coefficients are the default")

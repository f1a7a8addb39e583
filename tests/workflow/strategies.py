"""Documents drawn from the models of the format: any key of any section, with values that fit.

What is drawn is often right and sometimes not: keys may exclude each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Len, Lt, MinLen
from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from dw.workflow.checks.keys import known_keys
from dw.workflow.format.model import Step, Workflow
from dw.workflow.format.section import Section

Strategy = st.SearchStrategy[Any]

RARITY = 4  # one in so many optional keys is given

WORDS = st.sampled_from(["a fox", "snow", "x.y", "previous_result", "variable: weather"])
DTYPES = st.sampled_from(["torch.float16", "torch.bfloat16", "torch.float32"])
LOADS = st.fixed_dictionaries(
    {"model_name": st.sampled_from(["some/model", "variable:model"])},
    optional={"torch_dtype": DTYPES, "variant": st.just("fp16"), "revision": st.just("main")},
)
CALL = st.fixed_dictionaries(
    {"prompt": WORDS | st.just("variable:prompt")},
    optional={
        "num_inference_steps": st.integers(1, 50),
        "width": st.just(64) | st.just("variable:side"),
        "guidance_scale": st.floats(0, 20),
        "output_type": st.just("{pil}"),
    },
)
TASKS = st.sampled_from(
    [
        {"command": "resize_rescale", "arguments": {"image": "cat.png", "width": 8}},
        {"command": "crop_square", "arguments": {"image": {"location": "cat.png"}}},
        {"command": "gather_images", "arguments": {"glob": "*.png"}},
        {"command": "gather_inputs", "inputs": [1, "two", {"three": 3}]},
    ]
)
VARIABLES = st.just({"prompt": "a fox", "side": 64, "model": "some/model", "unused": None})

VALUES: Mapping[str, Strategy] = {
    "Configuration.component_type": st.just("StableDiffusionPipeline"),
    "Pipeline.from_pretrained_arguments": LOADS,
    "Pipeline.arguments": CALL,
    "PipelineReference.reference_name": st.sampled_from(["step0", "step1"]),
    "PipelineReference.arguments": CALL,
    "Workflow.variables": VARIABLES,
    "Step.task": TASKS,
    "Component.from_pretrained_arguments": LOADS,
    "ComponentConfiguration.component_type": st.just("AutoencoderKL"),
    "SchedulerConfiguration.scheduler_type": st.just("EulerDiscreteScheduler"),
    "Scheduler.from_config_args": st.just({}) | st.just({"use_karras_sigmas": True}),
    "Lora.model_name": st.just("some/lora"),
    "device": st.sampled_from(["auto", "cpu"]),
    "content_type": st.just("image/png"),
}
"""By `Section.key` or by `key`; what is not here is drawn from its type."""


@st.composite
def documents(draw: st.DrawFn, paths: Strategy | None = None) -> dict[str, Any]:
    """A workflow of one to three steps. `paths`: what may stand in the place of any text."""
    data: dict[str, Any] = draw(section(Workflow))
    data |= {"id": "drawn", "variables": draw(VARIABLES)}
    actions = ["pipeline", "task", "pipeline_reference"]
    steps = []
    for index in range(draw(st.integers(1, 3))):
        step = {k: v for k, v in draw(section(Step)).items() if k not in (*actions, "workflow")}
        action = draw(st.sampled_from(actions[: 2 if index == 0 else 3]))
        step |= {"name": f"step{index}", action: draw(value_of(Step, action, is_null=False))}
        steps.append(step)
    return {**data, "steps": steps if paths is None else draw(_misled(steps, paths))}


@cache
def section(model: type[Section]) -> Strategy:
    """An object of the format: all that it must have, some of what it may."""
    names = [name for name in model.model_fields if name in known_keys(model)]
    required = [name for name in names if model.model_fields[name].is_required()]
    return st.fixed_dictionaries(
        {name: value_of(model, name) for name in required},
        optional={name: _rarely(model, name) for name in names if name not in required},
    ).map(lambda given: {name: value for name, value in given.items() if value is not _ABSENT})


_ABSENT = object()


def _rarely(model: type[Section], name: str) -> Strategy:
    value = st.deferred(lambda: value_of(model, name))
    return st.integers(1, RARITY).flatmap(lambda n: value if n == 1 else st.just(_ABSENT))


def value_of(model: type[Section], name: str, *, is_null: bool = True) -> Strategy:
    """What the key may hold; null only if that may be."""
    field = model.model_fields[name]
    known = VALUES.get(f"{model.__name__}.{name}", VALUES.get(name))
    if known is not None:
        return known
    if name.endswith("_dtype"):
        return DTYPES
    if not is_null and type(None) in get_args(field.annotation):
        return st.one_of([_of(m, ()) for m in get_args(field.annotation) if m is not type(None)])
    return _of(field.annotation, tuple(field.metadata))


def _of(annotation: Any, limits: tuple[Any, ...]) -> Strategy:
    origin, members = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _of(members[0], (*limits, *_flat(members[1:])))
    if origin in (Union, UnionType):
        return st.one_of([_of(member, limits) for member in members])
    if origin is Literal:
        return st.sampled_from(members)
    if origin in (list, tuple):
        inner = Any if not members else members[0]
        return st.lists(_of(inner, ()), min_size=int(_least(limits, 0)), max_size=2)
    if origin is dict or annotation is dict:
        inner = _of(members[1], ()) if members else st.nothing()
        return st.dictionaries(st.sampled_from(["unet", "vae"]), inner, max_size=1)
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return section(annotation)
    return _plain(annotation, limits)


def _plain(annotation: Any, limits: tuple[Any, ...]) -> Strategy:
    low, high = _least(limits, 0), _most(limits, 100)
    if annotation is bool:
        return st.booleans()
    if annotation is int:
        return st.integers(int(low), int(min(high, 10_000)))
    if annotation is float:
        return st.floats(float(low) + 0.5, float(high)).map(lambda value: round(value, 3))
    if annotation is str:
        return st.sampled_from(["one", "two"])
    if annotation is type(None):
        return st.none()
    return st.integers(0, 5) | st.booleans() | WORDS


def _flat(metadata: tuple[Any, ...]) -> list[Any]:
    """What a `Field` in an annotation says, among the rest."""
    return [
        m for each in metadata for m in (each.metadata if isinstance(each, FieldInfo) else [each])
    ]


def _least(limits: tuple[Any, ...], default: float) -> float:
    for each in limits:
        if isinstance(each, Ge):
            return float(each.ge)  # type: ignore[arg-type]
        if isinstance(each, Gt):
            return float(each.gt) + 1  # type: ignore[arg-type]
        if isinstance(each, MinLen | Len):
            return each.min_length
    return default


def _most(limits: tuple[Any, ...], default: float) -> float:
    for each in limits:
        if isinstance(each, Le):
            return float(each.le)  # type: ignore[arg-type]
        if isinstance(each, Lt):
            return float(each.lt) - 1  # type: ignore[arg-type]
    return default


@st.composite
def _misled(draw: st.DrawFn, steps: list[Any], paths: Strategy) -> list[Any]:
    """The steps with some of their texts replaced by paths."""

    def mislead(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: mislead(value) for key, value in node.items()}
        if isinstance(node, list):
            return [mislead(value) for value in node]
        is_hit = isinstance(node, str) and draw(st.integers(1, 4)) == 1
        return draw(paths) if is_hit else node

    return [mislead(step) for step in steps]


def written(value: Any) -> Any:
    """A model as the file that it may have come from: what was given, under its own keys."""
    if isinstance(value, Section):
        data = {name: written(getattr(value, name)) for name in value.model_fields_set}
        for name in type(value).gathered:
            data |= data.pop(name, {})
        return data
    if isinstance(value, dict):
        return {key: written(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [written(item) for item in value]
    return value

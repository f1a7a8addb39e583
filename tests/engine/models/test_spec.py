"""What counts in the equality of load specs: what decides which bytes are in memory."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DiffusionPipeline,
    ModelMixin,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextModel, CLIPTokenizer

from dw.engine.models.fingerprint import Fingerprint
from dw.engine.models.spec import (
    DISK,
    ComponentSpec,
    Nested,
    PipelineSpec,
    Placement,
    PlacementPlan,
    PostLoadChange,
    QuantizationSpec,
    SchedulerSpec,
    SingleFile,
    loader_options,
)

CPU = Placement("cpu")
SPEC = ComponentSpec(
    UNet2DConditionModel,
    Fingerprint("1"),
    torch.float32,
    CPU,
    variant="fp16",
    part="unet",
    options=(("a", 1),),
    device_map='{"": 0}',
    quantization=QuantizationSpec(dict, "{}"),
    changes=(PostLoadChange("compile"),),
    allowed=frozenset({"unused"}),
    source=Path("/m"),
)
OTHER: Mapping[str, Any] = {
    "cls": CLIPTextModel,
    "fingerprint": Fingerprint("2"),
    "dtype": torch.float16,
    "placement": Placement("cuda:0"),
    "variant": None,
    "part": "vae",
    "options": (("a", 2),),
    "device_map": None,
    "quantization": QuantizationSpec(dict, '{"bits": 4}'),
    "changes": (),
    "allowed": frozenset(),
}


@pytest.mark.parametrize("name", OTHER)
def test_a_component_is_another_one_with_another(name: str) -> None:
    other = replace(SPEC, **{name: OTHER[name]})
    assert other != SPEC
    assert len({SPEC, other}) == 2
    assert replace(other, **{name: getattr(SPEC, name)}) == SPEC


def test_only_the_place_of_its_files_does_not_count() -> None:
    assert {each.name for each in fields(ComponentSpec)} - OTHER.keys() == {"source"}
    elsewhere = replace(SPEC, source=Path("/elsewhere"))
    assert (elsewhere, hash(elsewhere)) == (SPEC, hash(SPEC))


def test_the_defaults_are_the_plain_case() -> None:
    plain = ComponentSpec(CLIPTokenizer, Fingerprint("1"), None, None)
    nothing = (plain.variant, plain.part, plain.device_map, plain.quantization)
    assert nothing == (None,) * 4
    assert (plain.options, plain.changes, plain.allowed) == ((), (), frozenset())
    assert plain.source == Path()


def test_how_weights_are_quantized_counts_by_the_text_of_the_workflow() -> None:
    one = QuantizationSpec(dict, '{"bits": 4}', {"bits": 4})
    assert one == QuantizationSpec(dict, '{"bits": 4}', {"bits": object()})
    assert one != QuantizationSpec(dict, '{"bits": 8}', {"bits": 4})
    assert one != QuantizationSpec(list, '{"bits": 4}', {"bits": 4})
    assert QuantizationSpec(dict, "{}").arguments == {}


def test_a_change_is_one_of_the_whole_component_unless_it_says_otherwise() -> None:
    plain = PostLoadChange("compile")
    assert (plain.path, plain.arguments, plain.is_optional) == ("", {}, False)


def test_options_are_json() -> None:
    assert PostLoadChange("compile", options='{"dynamic": true}').arguments == {"dynamic": True}
    assert Placement("cuda", "group", '{"n": 2}').arguments == {"n": 2}
    assert CPU.arguments == {}


def test_group_offloading_takes_the_option_of_a_folder() -> None:
    assert DISK in inspect.signature(ModelMixin.enable_group_offload).parameters


def test_arguments_of_a_loader_reach_it_as_they_are() -> None:
    arguments = {"a": 1, "b": "x", "c": {"d": [torch.float16]}, "e": [1, 2]}
    spec = replace(SPEC, options=loader_options(arguments))
    assert spec.arguments == arguments
    assert hash(spec) == hash(replace(SPEC, options=loader_options(arguments)))


def test_nested_arguments_are_equal_by_what_they_say() -> None:
    assert loader_options({"a": {"x": 1, "y": 2}}) == loader_options({"a": {"y": 2, "x": 1}})
    assert loader_options({"a": [1, 2]}) != loader_options({"a": [2, 1]})
    assert loader_options({"a": {"x": torch.int8}}) != loader_options({"a": {"x": torch.int16}})
    assert loader_options({"a": 1}) != loader_options({"a": 2})


@pytest.mark.parametrize(
    ("placement", "is_on_host"),
    [
        (CPU, True),
        (Placement("cuda:0"), False),
        (Placement("cuda:0", "model"), True),
        (Placement("cuda:0", "group"), True),
        (None, False),
    ],
)
def test_what_is_kept_in_host_memory(placement: Placement | None, is_on_host: bool) -> None:
    assert placement is None or placement.is_on_host == is_on_host
    spec = replace(SPEC, placement=placement, device_map=None)
    assert spec.is_on_host == is_on_host
    mapped = replace(SPEC, placement=placement)  # a device map may name the host
    assert mapped.is_on_host == (placement is not None)


PLAN = PlacementPlan(
    CPU,
    own={"vae": Placement("cuda:0", "on_demand")},
    changes={"unet": (PostLoadChange("compile"),)},
)
FILE = SingleFile(
    StableDiffusionPipeline,
    Path("/a.safetensors"),
    Fingerprint("1"),
    Path("/configs"),
    torch.float32,
    {"unet": torch.float16},
    options=(("disable_mmap", True),),
    allowed=frozenset({"missing"}),
)


def test_a_plan_has_a_place_for_each() -> None:
    assert PLAN.of("vae") == Placement("cuda:0", "on_demand")
    assert PLAN.of("unet") == CPU
    assert PlacementPlan(CPU).changes == PlacementPlan(CPU).own == {}


def test_the_part_of_a_file_is_a_component() -> None:
    unet = FILE.part("unet", UNet2DConditionModel, PLAN)
    assert unet == ComponentSpec(
        UNet2DConditionModel,
        Fingerprint("1"),
        torch.float16,
        CPU,
        part="unet",
        options=(("disable_mmap", True),),
        changes=(PostLoadChange("compile"),),
        allowed=frozenset({"missing"}),
    )
    assert unet.source == Path("/a.safetensors")
    vae = FILE.part("vae", torch.nn.Linear, PLAN)
    assert (vae.dtype, vae.placement, vae.changes) == (torch.float32, PLAN.of("vae"), ())
    assert vae.options == (("disable_mmap", True),)


def test_a_part_without_weights_has_neither_dtype_nor_place() -> None:
    tokenizer = FILE.part("tokenizer", CLIPTokenizer, PLAN)
    assert (tokenizer.dtype, tokenizer.placement, tokenizer.options) == (None, None, ())


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("cls", object),
        ("fingerprint", Fingerprint("2")),
        ("allowed", frozenset()),
    ],
)
def test_what_determines_the_parts_of_a_file(name: str, other: object) -> None:
    assert replace(FILE, **{name: other}).content != FILE.content  # type: ignore[arg-type]
    assert replace(FILE, path=Path("/b"), dtype=torch.float16).content == FILE.content
    plain = SingleFile(*[getattr(FILE, f.name) for f in fields(FILE)][:-2])
    assert (plain.options, plain.allowed) == ((), frozenset())


class Pipe(DiffusionPipeline):
    """With a component that may be left out."""

    _optional_components = ("vae",)

    def __init__(self, unet: object, vae: object, steps: int = 1) -> None:
        self.made = {"unet": unet, "vae": vae, "steps": steps}


def test_a_pipeline_is_built_of_its_parts() -> None:
    scheduler = SchedulerSpec(object, {})
    spec = PipelineSpec(Pipe, {}, {"scheduler": scheduler}, {}, PLAN)
    assert spec.placement == CPU
    assert spec.single_file is None
    assert spec.build({"unet": 1}, {"steps": 3}).made == {"unet": 1, "vae": None, "steps": 3}


@pytest.mark.parametrize(
    "spec",
    [
        *(SPEC, SPEC.quantization, Nested("[1]", [1]), PostLoadChange("compile"), CPU),
        *(PLAN, FILE, SchedulerSpec(object, {}), PipelineSpec(Pipe, {}, {}, {}, PLAN)),
    ],
    ids=lambda spec: type(spec).__name__,
)
def test_every_field_counts_but_what_another_stands_for(spec: Any) -> None:
    stood_for = {
        ("ComponentSpec", "source"),
        ("QuantizationSpec", "arguments"),
        ("Nested", "value"),
    }
    counts = {f.name for f in fields(spec) if replace(spec, **{f.name: object()}) != spec}
    assert {
        (type(spec).__name__, f.name) for f in fields(spec) if f.name not in counts
    } <= stood_for


@pytest.mark.parametrize(
    ("offload", "devices"), [("model", ["cuda:0"]), (None, []), ("sequential", [])]
)
def test_only_whole_models_are_offloaded_by_the_pipeline(offload: Any, devices: list[str]) -> None:
    given: list[str] = []

    class Offloaded:
        def enable_model_cpu_offload(self, device: str) -> None:
            given.append(device)

    plan = PlacementPlan(Placement("cuda:0", offload))
    PipelineSpec(Pipe, {}, {}, {}, plan).offload(Offloaded())
    assert given == devices


def test_specs_cannot_be_changed() -> None:
    for spec in (SPEC, CPU, PLAN, FILE, PostLoadChange("a"), SchedulerSpec(object, {})):
        with pytest.raises((FrozenInstanceError, TypeError)):
            spec.cls = 1  # type: ignore[misc,union-attr,assignment]

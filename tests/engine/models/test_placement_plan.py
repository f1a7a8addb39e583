"""Where each component of a pipeline lives: the first rule that applies wins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dw.engine.device import Cpu, Device
from dw.engine.files.access import FileAccess
from dw.engine.models.context import LoadContext
from dw.engine.models.placement_plan import placement_plan
from dw.engine.models.source import Sources
from dw.engine.models.spec import Placement, PlacementPlan
from dw.errors import RunFailed
from dw.workflow.format.pipeline import Pipeline
from tests.engine.session import Json

LEAVES = {"offload_type": "leaf_level"}
ON_DEMAND = {"residency": "on_demand"}
HERE = Placement("cuda:0")


@dataclass(frozen=True)
class Card(Cpu):
    """A device that is only named."""

    kind = "cuda"


def find_device(wanted: str | None) -> Device:
    if wanted == "cpu":
        return Cpu("cpu", "asked for", int)
    return Card(wanted if wanted and ":" in wanted else "cuda:0", "for the test", int)


def planned(
    tmp_path: Path, configuration: Json, warnings: list[str], **changes: Any
) -> PlacementPlan:
    vae = {
        "configuration": {"component_type": "AutoencoderKL", **changes.pop("vae", {})},
        "from_pretrained_arguments": {"model_name": "a/b", **changes.pop("vae_loads", {})},
    }
    pipeline = Pipeline.model_validate(
        {
            "configuration": {"component_type": "FluxPipeline", **configuration},
            "from_pretrained_arguments": {"model_name": "a/b", **changes.pop("loads", {})},
            "arguments": {},
            "vae": vae,
        }
    )
    context = LoadContext(
        sources=Sources(),
        access=FileAccess(tmp_path),
        device=find_device(None),
        find_device=find_device,
        warn=warnings.append,
        **changes,
    )
    return placement_plan(pipeline, context)


@pytest.mark.parametrize(
    ("configuration", "transformer", "text_encoder"),
    [
        ({}, HERE, HERE),
        ({"device": "cuda:1"}, Placement("cuda:1"), Placement("cuda:1")),
        ({"device": "cpu"}, Placement("cpu"), Placement("cpu")),
        ({"preserve_device_placement": True}, Placement("cpu"), Placement("cpu")),
        ({"do_not_send_to_device": True}, Placement("cpu"), Placement("cpu")),
        ({"offload": "model"}, Placement("cuda:0", "model"), Placement("cuda:0", "model")),
        (
            {"offload": "model", "preserve_device_placement": True},
            Placement("cuda:0", "model"),
            Placement("cuda:0", "model"),
        ),
        (
            {"offload": "sequential", "exclude_from_cpu_offload": ["transformer"]},
            HERE,
            Placement("cuda:0", "sequential"),
        ),
        (
            {"group_offload": {**LEAVES, "exclude_modules": ["transformer"]}},
            HERE,
            Placement("cuda:0", "group", '{"offload_type": "leaf_level"}'),
        ),
        (
            {"group_offload": LEAVES, "components": {"transformer": {"device": "cuda:1"}}},
            Placement("cuda:1"),
            Placement("cuda:0", "group", '{"offload_type": "leaf_level"}'),
        ),
        (
            {"components": {"transformer": {"group_offload": {**LEAVES, "use_stream": True}}}},
            Placement("cuda:0", "group", '{"offload_type": "leaf_level", "use_stream": true}'),
            Placement("cuda:0", "on_demand"),
        ),
        (
            {"components": {"transformer": ON_DEMAND, "text_encoder": {"device": "cpu"}}},
            Placement("cuda:0", "on_demand"),
            Placement("cpu"),
        ),
        (
            {"components": {"transformer": {"device": "cuda:1"}}},
            Placement("cuda:1"),
            HERE,
        ),
        (
            {
                "preserve_device_placement": True,
                "components": {"transformer": {"device": "cuda"}},
            },
            HERE,
            Placement("cpu"),
        ),
        (
            {"components": {"transformer.blocks": ON_DEMAND}},
            Placement("cuda:0", "on_demand"),
            Placement("cuda:0", "on_demand"),
        ),
    ],
)
def test_the_first_that_applies_decides(
    tmp_path: Path, configuration: Json, transformer: Placement, text_encoder: Placement
) -> None:
    found = planned(tmp_path, configuration, [])
    assert (found.of("transformer"), found.of("text_encoder")) == (transformer, text_encoder)


@pytest.mark.parametrize(
    ("vae", "placement"),
    [
        ({}, HERE),
        ({"device": "cuda:1"}, Placement("cuda:1")),
        ({"device": "cpu"}, Placement("cpu")),
        ({"device": "cpu", "preserve_device_placement": True}, HERE),
        ({"group_offload": LEAVES}, Placement("cuda:0", "group", '{"offload_type": "leaf_level"}')),
        (
            {"group_offload": {**LEAVES, "onload_device": "cuda:1", "offload_device": "cpu"}},
            Placement("cuda:1", "group", '{"offload_device": "cpu", "offload_type": "leaf_level"}'),
        ),
    ],
)
def test_a_component_that_is_loaded_by_itself_may_say_its_place(
    tmp_path: Path, vae: Json, placement: Placement
) -> None:
    assert planned(tmp_path, {}, [], vae=vae).of("vae") == placement


@pytest.mark.parametrize(
    ("device_map", "placement"), [("cpu", Placement("cpu")), ("cuda", HERE), ("balanced", HERE)]
)
def test_the_device_map_of_a_pipeline_is_its_device(
    tmp_path: Path, device_map: str, placement: Placement
) -> None:
    found = planned(tmp_path, {}, [], loads={"device_map": device_map})
    assert found.placement == placement


def test_what_is_not_spread_over_several_devices_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "dw.engine.models.placement_plan.available", lambda: ["cuda:0", "cuda:1", "cpu"]
    )
    warnings: list[str] = []
    planned(tmp_path, {}, warnings, loads={"device_map": "balanced"})
    assert warnings == [
        "device_map 'balanced' puts all on cuda:0: 'components' in the configuration gives each "
        "its device"
    ]


def test_what_the_loader_maps_is_not_moved(tmp_path: Path) -> None:
    assert planned(tmp_path, {}, [], vae_loads={"device_map": "auto"}).of("vae") == Placement("cpu")


def test_a_lack_of_memory_offloads_what_is_not_placed_by_hand(tmp_path: Path) -> None:
    assert planned(tmp_path, {}, [], offload="model").placement.offload == "model"
    placed = {"components": {"transformer": {"device": "cuda:1"}}}
    assert planned(tmp_path, placed, [], offload="model").placement.offload is None


def test_weights_rest_in_folders_that_the_workflow_may_write(tmp_path: Path) -> None:
    inside = {"group_offload": {**LEAVES, "offload_to_disk_path": "weights"}}
    arguments = planned(tmp_path, inside, []).placement.arguments
    assert arguments["offload_to_disk_path"] == str(tmp_path / "weights")
    outside = {"group_offload": {**LEAVES, "offload_to_disk_path": "/usr/weights"}}
    with pytest.raises(RunFailed, match="outside of the workflow's folder"):
        planned(tmp_path, outside, [])


def test_what_is_done_once_is_in_the_order_of_the_format(tmp_path: Path) -> None:
    configuration = {
        "enable_layerwise_casting": {},
        "sdnq_optimize": ["transformer"],
        "components": {
            "transformer": {"compile": {}, "remove_modules": ["a"], "truncate_layers": {"b": 2}},
            "transformer.c": {"device": "cuda:1"},
        },
    }
    changes = planned(tmp_path, configuration, []).changes["transformer"]
    assert [change.name for change in changes] == [
        "truncate_layers",
        "remove_module",
        "cast_layerwise",
        "place",
        "sdnq_optimize",
        "compile",
    ]
    assert [change.path for change in changes] == ["", "", "", "c", "", ""]

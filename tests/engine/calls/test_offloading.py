"""Offloading: which hooks go on which model, and whether they can be taken off again."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import ModularPipeline, StableDiffusionPipeline

from dw.engine.calls import offloading
from dw.engine.calls.offloading import offload_changes
from dw.engine.models.model_state import Change, Layer
from dw.engine.models.spec import DISK, Placement, PostLoadChange

GROUP = Placement("cuda:1", "group", json.dumps({"offload_type": "leaf_level"}))
ON_DISK = Placement("cuda:1", "group", json.dumps({DISK: "/folder"}))
ON_DEMAND = Placement("cuda:1", "on_demand")


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = torch.nn.Identity()


def placed(path: str, placement: Placement) -> PostLoadChange:
    arguments = {
        "device": placement.device,
        "offload": placement.offload,
        "options": placement.options,
    }
    return PostLoadChange("place", path, json.dumps(arguments))


def component(placement: Placement | None, *changes: PostLoadChange) -> Any:
    return SimpleNamespace(
        spec=SimpleNamespace(placement=placement, changes=changes), value=Model()
    )


def found(
    components: dict[str, Any], offload: Any = None, cls: Any = StableDiffusionPipeline
) -> list[Change]:
    own = {"vae": Placement("cpu")}
    spec: Any = SimpleNamespace(
        cls=cls,
        placement=Placement("cuda:1", offload),
        placement_plan=SimpleNamespace(own=own),
    )
    return list(offload_changes(spec, components))


def described(changes: list[Change]) -> list[Any]:
    return [(c.layer, c.name, c.value, set(c.models), c.can_be_undone) for c in changes]


@pytest.mark.parametrize(
    ("component", "can_be_undone"),
    [
        (component(GROUP), True),
        (component(ON_DEMAND), True),
        (component(ON_DISK), False),
        (component(None, placed("encoder", GROUP)), True),
        (component(Placement("cpu"), placed("encoder", ON_DEMAND)), True),
        (component(GROUP, placed("encoder", ON_DISK)), False),
    ],
)
def test_a_model_with_hooks_has_one_change(component: Any, can_be_undone: bool) -> None:
    expected = [(Layer.OFFLOAD, "hooks", None, {"unet"}, can_be_undone)]
    assert described(found({"unet": component})) == expected


@pytest.mark.parametrize(
    "component",
    [
        component(None),
        component(Placement("cuda:1")),
        component(Placement("cuda:1", "model")),
        component(Placement("cuda:1"), placed("encoder", Placement("cpu"))),
        component(Placement("cuda:1"), PostLoadChange("cast", "encoder", '{"offload": "group"}')),
    ],
)
def test_others_have_none(component: Any) -> None:
    assert found({"unet": component}) == []


def test_each_model_has_its_own() -> None:
    components = {"a": component(GROUP), "b": component(None), "c": component(ON_DEMAND)}
    assert [set(change.models) for change in found(components)] == [{"a"}, {"c"}]


def test_hooks_go_on_the_model_and_then_on_modules_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    hooked: list[Any] = []
    monkeypatch.setattr(offloading, "offload", lambda *given: hooked.append(given))
    one = component(GROUP, placed("encoder", ON_DEMAND))
    [change] = found({"unet": one})
    other = Model()
    for pipeline, model in ((SimpleNamespace(unet=other), other), (SimpleNamespace(), one.value)):
        hooked.clear()
        change.apply(pipeline)
        assert hooked == [(model, GROUP), (model.encoder, ON_DEMAND)]


def test_sequential_offload_is_of_the_pipeline_but_for_what_has_a_place() -> None:
    components = {"unet": component(None), "vae": component(GROUP)}
    [change] = found(components, "sequential")
    assert described([change]) == [(Layer.OFFLOAD, "sequential", None, {"unet"}, True)]
    asked: list[Any] = []
    pipeline = SimpleNamespace(
        _exclude_from_cpu_offload=["safety_checker"],
        enable_sequential_cpu_offload=lambda **given: asked.append(given),
    )
    change.apply(pipeline)
    assert pipeline._exclude_from_cpu_offload == ["safety_checker", "vae"]
    assert asked == [{"device": "cuda:1"}]


def test_a_modular_pipeline_has_the_hooks_of_its_models() -> None:
    changes = found({"unet": component(GROUP)}, "sequential", ModularPipeline)
    assert [change.name for change in changes] == ["hooks"]

"""Model states: what is kept, undone, applied again or loaded again before a call."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from dw.engine.models.model_state import (
    Change,
    Layer,
    ModelState,
    apply,
    changed_models,
    constructed,
    has_only,
    rewind,
)

LORA, IP, SCALE = Layer.LORA, Layer.IP_ADAPTER, Layer.LORA_SCALE


def change(
    layer: Layer, value: object = 1, models: Sequence[str] = ("unet",), *, undone: bool = True
) -> Change:
    """Writes its name and value on each of its models."""
    name = layer.name.lower()

    def put(pipeline: Any) -> None:
        for model in models:
            getattr(pipeline, model).marks = [*getattr(pipeline, model).marks, (name, value)]

    return Change(layer, name, value, frozenset(models), put, undone)


@pytest.fixture
def pipeline() -> Any:
    models = {name: nn.Linear(1, 1) for name in ("unet", "encoder")}
    for model in models.values():
        model.marks = []  # type: ignore[assignment]
    return SimpleNamespace(**models)


@pytest.fixture
def states(pipeline: Any) -> dict[str, ModelState]:
    return {name: ModelState(model) for name, model in vars(pipeline).items()}


def reconcile(pipeline: Any, states: dict[str, ModelState], *wanted: Change) -> list[Change]:
    """What was applied."""
    missing, lost = rewind(states, wanted)
    assert not lost
    apply(pipeline, states, missing)
    return missing


def test_the_layers_have_one_order() -> None:
    assert list(Layer) == sorted(Layer)
    assert [layer.name for layer in Layer] == [
        "CONSTRUCTOR",
        "PROCESSOR",
        "SETTING",
        "LORA",
        "IP_ADAPTER",
        "ATTENTION",
        "OFFLOAD",
        "LORA_SCALE",
        "IP_ADAPTER_SCALE",
    ]


def test_changes_are_equal_by_what_they_do_and_not_by_where_and_how() -> None:
    assert change(LORA) == change(LORA, models=["encoder"], undone=False)
    assert len({change(LORA), change(LORA, 2), change(IP)}) == 3


def test_what_is_there_already_is_kept(pipeline: Any, states: dict[str, ModelState]) -> None:
    wanted = change(LORA), change(IP)
    assert reconcile(pipeline, states, *wanted) == list(wanted)
    assert reconcile(pipeline, states, *wanted) == []
    assert pipeline.unet.marks == [("lora", 1), ("ip_adapter", 1)]


@pytest.mark.parametrize(
    ("then", "applied"),
    [
        ([], []),
        ([change(LORA)], []),
        ([change(LORA, 2), change(IP)], ["lora", "ip_adapter"]),
        ([change(LORA), change(IP, 2)], ["ip_adapter"]),
        ([change(IP)], ["ip_adapter"]),
        ([change(LORA), change(IP), change(SCALE)], ["lora_scale"]),
        ([change(Layer.SETTING), change(LORA), change(IP)], ["setting", "lora", "ip_adapter"]),
    ],
)
def test_what_differs_goes_with_all_that_is_above_it(
    pipeline: Any, states: dict[str, ModelState], then: list[Change], applied: list[str]
) -> None:
    reconcile(pipeline, states, change(LORA), change(IP))
    assert [each.name for each in reconcile(pipeline, states, *then)] == applied
    assert pipeline.unet.marks == [(each.name, each.value) for each in then]


def test_a_change_of_two_models_is_kept_on_both_or_on_none(
    pipeline: Any, states: dict[str, ModelState]
) -> None:
    both = change(LORA, models=["unet", "encoder"])
    reconcile(pipeline, states, both)
    alone = {"unet": states["unet"]}  # another pipeline without LoRA shares one model
    assert rewind(alone, []) == ([], frozenset())
    assert pipeline.encoder.marks == [("lora", 1)]
    assert reconcile(pipeline, states, both) == [both]
    assert pipeline.unet.marks == pipeline.encoder.marks == [("lora", 1)]


def test_a_change_below_on_one_model_takes_the_shared_one_above_along(
    pipeline: Any, states: dict[str, ModelState]
) -> None:
    both, above = change(LORA, models=["unet", "encoder"]), change(IP, models=["encoder"])
    reconcile(pipeline, states, both, above)
    below = change(Layer.SETTING)
    assert reconcile(pipeline, states, below, both, above) == [below, both, above]
    assert pipeline.encoder.marks == [("lora", 1), ("ip_adapter", 1)]


def test_changes_below_on_two_models_take_what_is_above_on_each_along(
    pipeline: Any, states: dict[str, ModelState]
) -> None:
    reconcile(pipeline, states, change(LORA))
    below = [change(Layer.SETTING), change(Layer.SETTING, models=["encoder"])]
    assert reconcile(pipeline, states, *below, change(LORA)) == [*below, change(LORA)]
    assert pipeline.unet.marks == [("setting", 1), ("lora", 1)]


def test_a_change_of_one_model_leaves_the_other_alone(
    pipeline: Any, states: dict[str, ModelState]
) -> None:
    reconcile(pipeline, states, change(Layer.SETTING, models=["encoder"]), change(LORA))
    again = reconcile(pipeline, states, change(Layer.SETTING, 2, models=["encoder"]), change(LORA))
    assert [each.value for each in again] == [2]


def test_a_model_that_the_pipeline_does_not_have_is_not_missed(
    pipeline: Any, states: dict[str, ModelState]
) -> None:
    del states["encoder"]
    wanted = change(LORA, models=["unet", "encoder"])
    reconcile(pipeline, states, wanted)
    assert reconcile(pipeline, states, wanted) == []


def test_what_others_changed_is_undone_whether_or_not_the_changes_are_kept(
    pipeline: Any, states: dict[str, ModelState]
) -> None:
    reconcile(pipeline, states, change(LORA))
    pipeline.unet.marks = ["somebody's"]
    assert reconcile(pipeline, states, change(LORA)) == []
    assert pipeline.unet.marks == [("lora", 1)]
    pipeline.unet.marks = ["somebody's"]
    reconcile(pipeline, states)
    assert pipeline.unet.marks == []


def test_half_of_a_change_that_failed_is_undone(
    pipeline: Any, states: dict[str, ModelState]
) -> None:
    def fails(pipeline: Any) -> None:
        pipeline.unet.marks = ["half"]
        raise ZeroDivisionError

    half = Change(LORA, "lora", 1, frozenset({"unet"}), fails)
    with pytest.raises(ZeroDivisionError):
        reconcile(pipeline, states, change(Layer.SETTING), half, change(IP))
    whole = change(LORA)
    assert reconcile(pipeline, states, change(Layer.SETTING), whole) == [whole]
    assert pipeline.unet.marks == [("setting", 1), ("lora", 1)]


def test_what_cannot_be_undone_has_its_model_loaded_again(
    pipeline: Any, states: dict[str, ModelState]
) -> None:
    on_disk = change(Layer.OFFLOAD, undone=False)
    reconcile(pipeline, states, change(LORA), on_disk)
    assert reconcile(pipeline, states, change(LORA), on_disk) == []
    assert reconcile(pipeline, states, change(LORA), on_disk, change(SCALE)) != []
    assert reconcile(pipeline, states, change(LORA), on_disk) == []  # above it all can be undone
    missing, lost = rewind(states, [change(LORA, 2), on_disk])
    assert lost == {"unet"}
    assert [each.layer for each in missing] == [LORA, Layer.OFFLOAD]


def test_weights_that_are_lost_have_their_model_loaded_again(
    pipeline: Any, states: dict[str, ModelState]
) -> None:
    pipeline.unet.bfloat16()
    assert rewind(states, [])[1] == {"unet"}


def test_hooks_change_themselves_once_a_model_is_offloaded(
    pipeline: Any, states: dict[str, ModelState]
) -> None:
    reconcile(pipeline, states, change(LORA))
    pipeline.unet._hf_hook = "of the last pipeline"
    reconcile(pipeline, states, change(LORA))
    assert not hasattr(pipeline.unet, "_hf_hook")
    offload = change(Layer.OFFLOAD)
    reconcile(pipeline, states, change(LORA), offload)
    pipeline.unet._hf_hook = "that knows the order of the layers"
    reconcile(pipeline, states, change(LORA), offload, change(SCALE))
    assert hasattr(pipeline.unet, "_hf_hook")
    reconcile(pipeline, states, change(LORA))
    assert not hasattr(pipeline.unet, "_hf_hook")


def test_a_model_has_what_is_wanted_and_nothing_else(
    pipeline: Any, states: dict[str, ModelState]
) -> None:
    wanted = [change(LORA, models=["unet", "encoder"]), change(IP)]
    assert has_only(states, [])
    assert not has_only(states, wanted)
    reconcile(pipeline, states, *wanted)
    assert has_only(states, wanted)
    assert not has_only(states, wanted[:1])
    assert not has_only(states, [*wanted, change(SCALE)])
    assert not has_only(states, [wanted[0], change(IP, 2)])
    assert has_only({"encoder": states["encoder"]}, wanted[:1])


def test_what_a_constructor_did_is_never_what_is_wanted(
    pipeline: Any, states: dict[str, ModelState]
) -> None:
    reconcile(pipeline, states, constructed(frozenset({"unet"})))
    assert not has_only(states, [])
    assert not has_only(states, [constructed(frozenset({"unet"}))])


class TestConstructors:
    def test_one_that_changes_nothing_is_seen_as_that(
        self, pipeline: Any, states: dict[str, ModelState]
    ) -> None:
        assert changed_models(pipeline, states) == frozenset()
        assert changed_models(SimpleNamespace(), states) == frozenset()  # has it under no name

    def test_what_it_changed_or_replaced_is_named(
        self, pipeline: Any, states: dict[str, ModelState]
    ) -> None:
        pipeline.unet.marks = ["the constructor's"]
        assert changed_models(pipeline, states) == {"unet"}
        pipeline.encoder = nn.Linear(1, 1)
        assert changed_models(pipeline, states) == {"unet", "encoder"}

    def test_what_it_does_is_below_all_else_and_done_each_time(
        self, pipeline: Any, states: dict[str, ModelState]
    ) -> None:
        for _ in range(2):
            missing, _ = rewind(states, [constructed(frozenset({"unet"})), change(LORA)])
            assert [each.layer for each in missing] == [Layer.CONSTRUCTOR, LORA]
            assert pipeline.unet.marks == []
            pipeline.unet.marks = ["the constructor's"]
            apply(pipeline, states, missing)
            assert pipeline.unet.marks == ["the constructor's", ("lora", 1)]
        reconcile(pipeline, states, change(LORA))
        assert pipeline.unet.marks == [("lora", 1)]

"""Snapshots: whatever is changed on a model is found and undone, or the model is given up."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dw.engine.models.snapshot import Snapshot, holds


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_q = nn.Linear(4, 4)
        self.register_buffer("cache", torch.zeros(2))
        self.processor: Any = SimpleNamespace(backend=None, scale=[1.0])
        self.scaling = {"a": 1.0}
        self.order = ["a", "b"]
        self.numbers = [1]
        self.active = {"a"}


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.attention = Attention()
        self.config = SimpleNamespace(dim_type=None)
        self._internal_dict = SimpleNamespace(act_fn="silu")
        self.generation_config = SimpleNamespace(max_length=20)
        self.tiling = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention.to_q(self.conv(x).mean((2, 3)))


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    return Model()


def wrap(model: Any) -> None:
    model.attention.to_q = nn.Sequential(model.attention.to_q, nn.Linear(4, 4))


def remove(model: Any) -> None:
    del model.attention.to_q


def reorder(model: Any) -> None:
    modules = model._modules
    modules["conv"] = modules.pop("conv")


def install_module_processor(model: Any) -> None:
    del model.attention.processor
    model.attention.processor = nn.Linear(2, 2)


CHANGES: list[Callable[[Any], Any]] = [
    lambda model: setattr(model, "tiling", True),
    lambda model: setattr(model, "new", None),
    lambda model: delattr(model, "tiling"),
    lambda model: setattr(model, "forward", lambda x: x),
    lambda model: setattr(model.attention, "processor", SimpleNamespace()),
    lambda model: setattr(model.attention.processor, "backend", "flash"),
    lambda model: model.attention.processor.scale.__setitem__(0, 0.5),
    lambda model: setattr(model.config, "dim_type", "image"),
    lambda model: setattr(model._internal_dict, "act_fn", "relu"),
    lambda model: setattr(model.generation_config, "max_length", 1),
    lambda model: model.attention.scaling.update(a=0.5),
    lambda model: model.attention.scaling.update(b=0.5),
    lambda model: model.attention.order.append("c"),
    lambda model: model.attention.order.reverse(),
    lambda model: model.attention.numbers.__setitem__(0, True),
    lambda model: model.attention.active.add("b"),
    lambda model: model.conv.register_forward_pre_hook(lambda *_: None),
    lambda model: model.register_parameter("more", nn.Parameter(torch.ones(1))),
    lambda model: model.attention.register_buffer("cache", None),
    lambda model: setattr(model.conv, "weight", nn.Parameter(torch.ones(4, 3, 3, 3))),
    lambda model: model.to(torch.float64),
    lambda model: model.requires_grad_(False),
    lambda model: model.eval(),
    wrap,
    remove,
    reorder,
    install_module_processor,
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_found_and_undone(model: Model, change: Callable[[Any], Any]) -> None:
    x = torch.ones(1, 3, 8, 8)
    before, snapshot = model(x), Snapshot(model)
    assert snapshot.is_current()
    change(model)
    assert not snapshot.is_current()
    assert snapshot.restore()
    assert snapshot.is_current()
    assert torch.equal(model(x), before)
    assert [name for name, _ in model.named_modules()] == [
        name for name, _ in Model().named_modules()
    ]


def test_the_very_objects_are_put_back(model: Model) -> None:
    weight, layer, processor = model.conv.weight, model.attention.to_q, model.attention.processor
    snapshot = Snapshot(model)
    model.conv.weight = nn.Parameter(torch.ones(4, 3, 3, 3))
    wrap(model)
    model.attention.processor = None
    snapshot.restore()
    assert model.conv.weight is weight
    assert model.attention.to_q is layer
    assert model.attention.processor is processor


def test_weights_have_their_strides_again(model: Model) -> None:
    """Also those of a layer of size 1, which counts as contiguous with other strides as well."""
    model.small = nn.Conv2d(1, 4, 1)
    strides, snapshot = [w.stride() for w in model.parameters()], Snapshot(model)
    values = [w.detach().clone() for w in model.parameters()]
    model.to(memory_format=torch.channels_last)
    assert [w.stride() for w in model.parameters()] != strides
    assert snapshot.restore()
    assert [w.stride() for w in model.parameters()] == strides
    assert all(map(torch.equal, values, model.parameters()))


def test_weights_are_put_back_whatever_the_default_device_and_dtype_are(model: Model) -> None:
    model.half()
    strides, snapshot = [w.stride() for w in model.parameters()], Snapshot(model)
    model.to(memory_format=torch.channels_last)
    with torch.device("meta"):
        assert snapshot.restore()
    kinds = {(w.dtype, w.device.type) for w in model.parameters()}
    assert kinds == {(torch.float16, "cpu")}
    assert [w.stride() for w in model.parameters()] == strides


class Quantized(nn.Parameter):
    """As of torchao: it consists of other tensors."""


def test_a_quantized_weight_is_the_same_until_its_dtype_changes(model: Model) -> None:
    model.conv.weight = Quantized(model.conv.weight.data)
    snapshot = Snapshot(model)
    model.conv.weight.data = model.conv.weight.data.to(memory_format=torch.channels_last)
    assert snapshot.restore()
    model.conv.weight.data = model.conv.weight.data.double()
    assert not snapshot.restore()


@pytest.mark.parametrize(
    ("dtype", "other", "is_possible"),
    [
        (torch.float32, torch.float64, True),
        (torch.float32, torch.bfloat16, False),
        (torch.float16, torch.float32, True),
        (torch.float16, torch.bfloat16, False),
        (torch.bfloat16, torch.float16, False),
        (torch.float8_e4m3fn, torch.bfloat16, True),
    ],
)
def test_a_cast_is_undone_only_if_nothing_was_rounded(
    dtype: torch.dtype, other: torch.dtype, is_possible: bool
) -> None:
    layer = nn.Linear(8, 8, bias=False).to(dtype)
    bits = layer.weight.detach().clone().float()
    snapshot = Snapshot(layer)
    layer.to(other)
    assert snapshot.restore() is is_possible
    if is_possible:
        assert layer.weight.dtype == dtype
        assert torch.equal(layer.weight.float(), bits)


def test_weights_that_were_cast_in_a_call_belong_to_its_inference_mode(model: Model) -> None:
    snapshot = Snapshot(model)
    with torch.inference_mode():
        model.to(torch.float64)
        model.requires_grad_(False)
    assert snapshot.restore()
    assert model.conv.weight.dtype == torch.float32
    assert model.conv.weight.requires_grad


def test_a_layer_whose_parameters_were_moved_elsewhere_has_them_again(model: Model) -> None:
    """As sequential offloading does: the layer's own become empty ones."""
    snapshot = Snapshot(model)
    model.conv._parameters["weight"] = nn.Parameter(torch.empty(4, 3, 3, 3, device="meta"))
    assert snapshot.restore()
    assert not model.conv.weight.is_meta


HOOKS: list[Callable[[Any], Any]] = [
    lambda model: setattr(model, "forward", print),
    lambda model: setattr(model, "_hf_hook", object()),
    lambda model: setattr(model, "_old_forward", print),
    lambda model: setattr(model.conv, "_diffusers_hook", SimpleNamespace(hooks={})),
]


@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_can_be_left_alone(model: Model, hook: Callable[[Any], Any]) -> None:
    with_them, without = Snapshot(model), Snapshot(model, hooks=False)
    hook(model)
    model.tiling = True
    assert without.restore()
    assert without.is_current()
    assert not with_them.is_current()
    assert not model.tiling
    assert with_them.restore()
    assert with_them.is_current()


def test_what_a_hook_registry_holds_is_put_back(model: Model) -> None:
    registry = SimpleNamespace(hooks={"a": object()}, order=["a"])
    model.conv._diffusers_hook = registry
    snapshot = Snapshot(model)
    registry.hooks["b"] = object()
    registry.order.append("b")
    assert not snapshot.is_current()
    assert snapshot.restore()
    assert list(registry.hooks) == registry.order == ["a"]


def test_the_order_of_a_container_counts() -> None:
    model = nn.Module()
    model.names = OrderedDict(a=1, b=1)
    snapshot = Snapshot(model)
    model.names.move_to_end("a")
    assert not snapshot.is_current()
    snapshot.restore()
    assert list(model.names) == ["a", "b"]


def test_a_set_has_no_order() -> None:
    model = nn.Module()
    model.ids = {0, 8}  # in the same place of its table, so that the first comes first
    snapshot = Snapshot(model)
    model.ids.clear()
    model.ids.update([8, 0])
    assert list(model.ids) == [8, 0]
    assert snapshot.is_current()


ARRAYS: list[Callable[[], Any]] = [lambda: torch.ones(3), lambda: np.ones(3)]


@pytest.mark.parametrize("make", ARRAYS)
def test_an_array_in_the_place_of_another_or_of_a_number_is_found(
    model: Model, make: Callable[[], Any]
) -> None:
    model.scale, model.attention.scaling["b"] = make(), make()
    snapshot = Snapshot(model)
    assert snapshot.is_current()
    for place, value in ((model, make()), (model.attention, make())):
        place.scale = value
        assert not snapshot.is_current()
        assert snapshot.restore()
        assert snapshot.is_current()
    model.tiling = make()
    assert not snapshot.is_current()
    snapshot.restore()
    model.attention.scaling["b"] = make()
    assert not snapshot.is_current()


def test_an_equal_list_in_the_place_of_another_is_the_same_until_it_changes(model: Model) -> None:
    snapshot = Snapshot(model)
    model.attention.order = list(model.attention.order)
    assert snapshot.is_current()
    model.attention.order.append("c")
    assert not snapshot.is_current()
    snapshot.restore()
    assert model.attention.order == ["a", "b"]


@pytest.mark.parametrize("hooks", [True, False])
def test_attributes_have_no_order(model: Model, hooks: bool) -> None:
    """One that was removed and set again is the last."""
    snapshot = Snapshot(model, hooks=hooks)
    config = model.config
    del model.config
    assert not snapshot.is_current()
    model.config = config
    assert snapshot.is_current()


def test_what_moved_from_one_container_to_the_next_is_found() -> None:
    model = nn.Module()
    model.first, model.second = {"a": 1, "b": 2}, {"c": 3}
    snapshot = Snapshot(model)
    model.first, model.second = {"a": 1}, {"b": 2, "c": 3}
    assert not snapshot.is_current()
    snapshot.restore()
    model.first.pop("b")
    model.second.clear()
    model.second.update(b=2, c=3)
    assert not snapshot.is_current()


def test_what_is_no_model_is_always_current() -> None:
    tokenizer = SimpleNamespace(words=[])
    snapshot = Snapshot(tokenizer)
    tokenizer.words.append("x")
    assert snapshot.is_current()
    assert snapshot.restore()
    assert tokenizer.words == ["x"]


@pytest.mark.parametrize(
    ("wide", "narrow", "expected"),
    [
        (torch.float32, torch.float32, True),
        (torch.int8, torch.int8, True),
        (torch.int16, torch.int8, False),
        (torch.float32, torch.int8, False),
        (torch.float32, torch.float16, True),
        (torch.float16, torch.float32, False),
        (torch.bfloat16, torch.float16, False),
        (torch.float16, torch.bfloat16, False),
        (torch.float16, torch.float8_e4m3fn, True),
        (torch.float16, torch.float8_e5m2, True),
        (torch.float8_e5m2, torch.float8_e4m3fn, False),
    ],
)
def test_a_dtype_holds_the_numbers_of_another(
    wide: torch.dtype, narrow: torch.dtype, expected: bool
) -> None:
    assert holds(wide, narrow) is expected

from __future__ import annotations

import pytest
import torch

from dw.engine.patches.scaled_fp8 import unscaled

FP8 = torch.float8_e4m3fn


def fp8(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers).reshape(2, -1).to(FP8)


@pytest.mark.parametrize("name", ["scale_weight", "weight_scale"])
@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_a_scale_is_applied_and_gone(name: str, dtype: torch.dtype) -> None:
    weight = torch.tensor([[1.0, 2.0], [3.0, -4.0]])
    weights = {"a.weight": weight.to(dtype), f"a.{name}": torch.tensor(0.25), "a.bias": weight[0]}
    found = unscaled(weights)
    assert list(found) == ["a.weight", "a.bias"]
    assert found["a.weight"].dtype == torch.bfloat16
    assert found["a.weight"].tolist() == (weight * 0.25).tolist()
    assert found["a.bias"] is weights["a.bias"]


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_a_scale_for_each_row(shape: tuple[int, ...]) -> None:
    scale = torch.tensor([0.5, 2.0]).reshape(shape)
    found = unscaled({"a.weight": fp8(1, 2, 3, 4), "a.scale_weight": scale})
    assert found["a.weight"].tolist() == [[0.5, 1.0], [6.0, 8.0]]


def test_a_convolution() -> None:
    weight = torch.ones(2, 3, 1, 1).to(FP8)
    found = unscaled({"a.weight": weight, "a.scale_weight": torch.tensor([1.0, 2.0])})
    assert found["a.weight"].shape == (2, 3, 1, 1)
    assert found["a.weight"][1].flatten().tolist() == [2.0] * 3


def test_markers_and_scales_of_activations_go_with_them() -> None:
    extras = {
        "scaled_fp8": torch.zeros(2).to(FP8),
        "a.scale_input": torch.ones(1),
        "a.input_scale": torch.ones(1),
        "a.comfy_quant": torch.zeros(3, dtype=torch.uint8),
    }
    found = unscaled({"a.weight": fp8(1, 2), "a.scale_weight": torch.ones(1), **extras})
    assert list(found) == ["a.weight"]


def test_without_scales_nothing_is_touched() -> None:
    for weights in (
        {"a.weight": fp8(1, 2)},
        {"a.weight": torch.ones(2), "a.weight_scale": torch.ones(1)},  # a weight of its own
        {"weight_scale": torch.ones(1)},
    ):
        assert unscaled(weights) is weights


def test_a_scale_of_what_is_not_float8_stays() -> None:
    weights = {
        "a.weight": fp8(1, 2),
        "a.scale_weight": torch.ones(1),
        "b.weight": torch.ones(2),
        "b.weight_scale": torch.ones(1),
    }
    assert list(unscaled(weights)) == ["a.weight", "b.weight", "b.weight_scale"]

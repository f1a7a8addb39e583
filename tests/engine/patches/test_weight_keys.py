from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dw.engine.patches.weight_keys import allowed_by, judge, judged
from dw.errors import RunFailed

SOURCE = Path("/m/unet")
BOTH = "the weights of Linear and those in '/m/unet' differ: "
ACCEPT = "   in from_pretrained_arguments accepts that"


@pytest.fixture
def model() -> torch.nn.Module:
    return torch.nn.Linear(2, 2)


def told(model: torch.nn.Module, missing: list[str], unused: list[str], *allowed: str) -> RunFailed:
    with pytest.raises(RunFailed) as caught, judged(SOURCE, allowed):  # type: ignore[arg-type]
        judge(model, missing=missing, unused=unused)
    return caught.value


def test_missing_weights_are_counted_and_named(model: torch.nn.Module) -> None:
    error = told(model, ["weight"], [])
    assert error.message == BOTH + "1 of 2 are not there and would be random ('weight')"
    assert error.hints[1] == '"allow_missing_weights": true' + ACCEPT


def test_unused_weights_are_counted_and_some_are_named(model: torch.nn.Module) -> None:
    error = told(model, [], ["e", "d", "c", "b", "a"])
    assert error.message == BOTH + "5 there have no place in the model ('a', 'b', 'c' and 2 more)"
    assert error.hints[1] == '"allow_unused_weights": true' + ACCEPT


def test_both_are_one_error(model: torch.nn.Module) -> None:
    error = told(model, ["weight"], ["kernel"])
    assert error.message.count("(") == 2
    assert error.hints == (
        "the files may be of another version of the model, or of another model",
        '"allow_missing_weights": true, "allow_unused_weights": true' + ACCEPT,
    )


def test_each_is_allowed_on_its_own(model: torch.nn.Module) -> None:
    with judged(SOURCE, {"missing", "unused"}):
        judge(model, missing=["weight"], unused=["kernel"])
    assert "random" not in told(model, ["weight"], ["kernel"], "missing").message
    assert "no place" not in told(model, ["weight"], ["kernel"], "unused").message


def test_nothing_is_judged_outside_of_a_load(model: torch.nn.Module) -> None:
    with judged(SOURCE, ()):
        judge(model, missing=[], unused=[])
    judge(model, missing=["weight"], unused=["kernel"])


def test_what_a_published_model_lacks_by_design_is_not_missing(model: torch.nn.Module) -> None:
    with judged(SOURCE, ()):
        layer = "neck.fusion_stage.layers.0.residual_layer1.convolution1.weight"
        judge(model, missing=[layer], unused=[])
    assert "1 of 2" in told(model, [layer.replace("layers.0", "layers.1")], []).message


def test_scales_of_float8_have_a_hint_of_their_own(model: torch.nn.Module) -> None:
    error = told(model, [], ["to_q.scale_weight"])
    assert error.hints[0] == (
        "the scales of float8 weights are applied in single files (from_single_file) only"
    )


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        ({}, set()),
        ({"allow_missing_weights": True}, {"missing"}),
        ({"allow_unused_weights": True, "allow_missing_weights": False}, {"unused"}),
        ({"allow_unused_weights": True, "allow_missing_weights": True}, {"missing", "unused"}),
    ],
)
def test_a_workflow_allows_them_by_key(arguments: dict[str, bool], allowed: set[str]) -> None:
    assert allowed_by(arguments) == allowed

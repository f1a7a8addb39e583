"""Which steps TeaCache computes, and what it gives for the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel

from dw.engine.calls.teacache import COEFFICIENTS, applied, why_unsupported
from dw.errors import RunFailed
from dw.workflow.format.step_cache import TeaCache
from tests.engine.calls.tiny_models import Caching, Pipeline, TinyFlux

CHANGE = [1.0, 0.0]
"""Predicts a change of the output as large as that of the input."""


@contextmanager
def cached(model: Any, threshold: float, steps: int, **settings: Any) -> Iterator[None]:
    asked = TeaCache.model_validate({"rel_l1_thresh": threshold, **settings})
    with applied(Pipeline(model), asked, {"num_inference_steps": steps}):  # type: ignore[arg-type]
        yield


def computed(
    inputs: Sequence[float | Sequence[float]], threshold: float, coefficients: Any = CHANGE
) -> list[bool]:
    """For each pass, in the order of the calls, whether all blocks were computed. A list is the
    inputs of the passes of one step."""
    model, found = TinyFlux(), []
    with cached(model, threshold, len(inputs), coefficients=coefficients):
        for step, given in enumerate(inputs):
            for value in given if isinstance(given, list) else [given]:
                before = [block.computed for block in model.blocks]
                image = torch.tensor([value, -value], dtype=torch.float32)
                model(hidden_states=image, timestep=torch.tensor([float(step)]))
                first, *others = (
                    block.computed - was for block, was in zip(model.blocks, before, strict=True)
                )
                assert first == 1  # it measures
                assert others in ([0, 0, 0], [1, 1, 1])
                found.append(others == [1, 1, 1])
    return found


@pytest.mark.parametrize(
    ("inputs", "threshold", "expected"),
    [
        # A quarter more each time; from the second one on since the last that was computed.
        ([1, 1.25, 1.5625, 1.953125, 2.44140625, 3], 0.6, [1, 0, 0, 1, 0, 1]),
        ([1, 0.75, 0.5625, 0.421875, 0.3, 0.3], 0.6, [1, 0, 0, 1, 0, 1]),
        ([1, 1.5, 1.5, 1.5], 0.5, [1, 1, 0, 1]),  # one as large as the threshold is too large
        ([1, 1.5, 1.5, 1.5], 0.51, [1, 0, 0, 1]),
        ([1, 1, 1, 1], 0.0, [1, 1, 1, 1]),
        ([1, 9, 99, 1], 1e6, [1, 0, 0, 1]),
        ([4, 5, 5, 5], 0.3, [1, 0, 0, 1]),  # a change is relative to the input before
        ([4, 5, 5, 5], 0.25, [1, 1, 0, 1]),
        ([1], 1e6, [1]),
    ],
)
def test_a_step_is_computed_when_the_changes_add_up(
    inputs: list[float], threshold: float, expected: list[int]
) -> None:
    assert computed(inputs, threshold) == [bool(each) for each in expected]


def test_a_predicted_change_below_nothing_is_none() -> None:
    # -0.05, which is 0, then 0.2; nothing is saved up for later
    assert computed([1, 1.25, 1.875, 2, 2], 0.175, [1.0, -0.3]) == [True, False, True, False, True]


def test_passes_of_a_step_are_judged_apart() -> None:
    same, other = [1.0, 1.0], [1.0, 2.0]
    assert computed([same, same, same, same], 0.5) == [True] * 2 + [False] * 4 + [True] * 2
    assert computed([same, other, other, same], 0.5) == [
        *(True, True, False, True),
        *(False, False, True, True),
    ]


def test_a_pass_that_was_never_computed_is() -> None:
    assert computed([1.0, [1.0, 1.0], [1.0, 1.0], 1.0], 0.5) == [
        *(True, False, True),
        *(False, False, True),
    ]


def test_a_step_that_is_left_out_adds_what_the_blocks_added_last() -> None:
    model, times = TinyFlux(), iter(range(9))

    def given(value: float) -> list[float]:
        time = torch.tensor([float(next(times))])
        text, image = model(hidden_states=torch.tensor([value]), timestep=time)
        return [text.item(), image.item()]

    with cached(model, 0.6, 5, coefficients=CHANGE):
        assert given(1.0) == [4, 16]
        assert given(1.25) == [1, 16.25]  # 15 more than the input; the text of the first block
        assert given(1.75) == [4, 28]
        assert given(2.0) == [1, 28.25]  # 26.25 more
        assert given(2.0) == [4, 32]


@pytest.mark.parametrize("fails", [False, True])
def test_afterwards_the_model_is_as_before(fails: bool) -> None:
    model = TinyFlux()
    image, time = torch.tensor([1.0]), torch.tensor([0.0])
    with pytest.raises(KeyError) if fails else nullcontext(), cached(model, 1e6, 4):
        model(hidden_states=image, timestep=time)
        assert model.transformer_blocks[0].norm1._forward_hooks
        if fails:
            raise KeyError
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not getattr(getattr(module, "_diffusers_hook", None), "hooks", None)
    for step in range(4):
        text, result = model(hidden_states=image, timestep=torch.tensor([float(step)]))
        assert (text.item(), result.item()) == (4, 16)


def test_the_coefficients_are_the_published_ones_of_the_variant() -> None:
    published = (4.98651651e02, -2.83781631e02, 5.58554382e01, -3.82021401e00, 2.64230861e-01)
    assert COEFFICIENTS["flux"] == published
    change = sum(each * 0.25**power for power, each in enumerate(reversed(published)))
    inputs = [1.0, 1.25, 1.25, 1.25]
    assert computed(inputs, change * 1.01, None)[1] is False
    assert computed(inputs, change * 0.99, None)[1] is True


def test_the_last_step_is_that_of_the_pipeline_when_none_is_asked_for() -> None:
    model = TinyFlux()
    model.cache_context = pytest.fail  # the passes need no names here
    with applied(Pipeline(model), TeaCache(rel_l1_thresh=1e6), {}):  # type: ignore[arg-type]
        for step in range(5):
            model(hidden_states=torch.ones(1), timestep=torch.tensor([float(step)]))
    assert [block.computed for block in model.blocks] == [5, 2, 2, 2]


def test_it_is_for_flux_alone() -> None:
    assert why_unsupported(FluxTransformer2DModel) is why_unsupported(TinyFlux) is None
    message = "TeaCache is for FLUX.1, not for SD3Transformer2DModel"
    assert why_unsupported(SD3Transformer2DModel) == message
    with (
        pytest.raises(RunFailed, match=r"^TeaCache is for FLUX.1, not for Caching$"),
        cached(Caching(), 0.5, 4),
    ):
        pass

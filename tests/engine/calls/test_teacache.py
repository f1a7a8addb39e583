"""TeaCache on a tiny FLUX.1, compared with the algorithm as it was published."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxTransformer2DModel
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from PIL import Image

from dw.engine.calls import calling
from dw.engine.calls.teacache import COEFFICIENTS, polynomial
from tests.engine.calls.test_step_caches import counting
from tests.engine.session import CancelsAt, Json, Session, on_a_gpu, text_to_image

STEPS = 8
GUIDED = {"true_cfg_scale": 3.0, "negative_prompt": "a dog"}


def cached(model: Path, threshold: float | None, **changes: Any) -> Json:
    teacache = None if threshold is None else {"rel_l1_thresh": threshold}
    configuration = {"component_type": "FluxPipeline", "teacache": teacache}
    return text_to_image(
        model,
        configuration={**configuration, **changes.pop("configuration", {})},
        arguments={"num_inference_steps": STEPS, **changes},
    )


@pytest.fixture
def transformer(warm: Session, flux: Path) -> Any:
    warm.run(cached(flux, None))
    components = warm.engine._cache.components()
    return next(c.value for c in components if c.label == "gen.transformer")


@contextmanager
def published(model: FluxTransformer2DModel, threshold: float) -> Iterator[None]:
    """The authors' algorithm: the signal is made before the blocks, none of which runs in a step
    that is skipped."""
    kept: dict[str, Any] = {"step": 0, "distance": 0.0}
    rescale = np.poly1d(COEFFICIENTS["flux"])
    original = model.forward

    def forward(hidden_states: torch.Tensor, timestep: torch.Tensor, **rest: Any) -> Any:
        inputs = model.x_embedder(hidden_states)
        scaled = timestep.to(inputs.dtype) * 1000
        guidance = rest["guidance"]
        given = [scaled] if guidance is None else [scaled, guidance.to(inputs.dtype) * 1000]
        temb = model.time_text_embed(*given, rest["pooled_projections"])
        signal = model.transformer_blocks[0].norm1(inputs, emb=temb)[0]
        is_computed = kept["step"] in (0, STEPS - 1)
        if not is_computed:
            before = kept["signal"]
            change = ((signal - before).abs().mean() / before.abs().mean()).item()
            kept["distance"] += rescale(change)
            is_computed = kept["distance"] >= threshold
        kept["signal"], kept["step"] = signal, kept["step"] + 1
        if not is_computed:
            sample = model.proj_out(model.norm_out(inputs + kept["residual"], temb))
            return Transformer2DModelOutput(sample=sample) if rest["return_dict"] else (sample,)
        kept["distance"] = 0.0
        return original(hidden_states=hidden_states, timestep=timestep, **rest)

    def keep(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        kept["residual"] = inputs[0] - kept["embedded"]

    handles = [
        model.norm_out.register_forward_pre_hook(keep),
        model.x_embedder.register_forward_hook(lambda *each: kept.update(embedded=each[-1])),
    ]
    model.forward = forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        del model.forward
        for handle in handles:
            handle.remove()


def pixels(session: Session, document: Json) -> Any:
    [output] = session.run(document).outputs
    return np.asarray(Image.open(output.path)).astype(int)


@pytest.mark.parametrize("threshold", [0.0, 0.4, 0.6, 1.0, 1000.0])
def test_it_is_the_algorithm_as_published(
    warm: Session, flux: Path, threshold: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = pixels(warm, cached(flux, threshold))
    with monkeypatch.context() as patch:
        patch.setattr(
            calling, "accelerated", lambda pipeline, *_: published(pipeline.transformer, threshold)
        )
        theirs = pixels(warm, cached(flux, None))
    # The last bits of a sum depend on where its terms lie in memory.
    assert abs(ours - theirs).max() <= 1
    plain = pixels(warm, cached(flux, None))
    assert bool(abs(ours - plain).max() > 1) is (threshold > 0)


@pytest.mark.parametrize("arguments", [{}, GUIDED])
def test_a_threshold_of_nothing_changes_nothing(warm: Session, flux: Path, arguments: Json) -> None:
    plain = warm.hashes(cached(flux, None, **arguments))
    assert warm.hashes(cached(flux, 0, **arguments)) == plain


@pytest.mark.parametrize(("arguments", "passes"), [({}, 1), (GUIDED, 2)])
def test_a_high_threshold_leaves_the_first_step_and_the_last(
    warm: Session, flux: Path, transformer: Any, arguments: Json, passes: int
) -> None:
    with counting(transformer) as blocks:
        warm.run(cached(flux, 1000, **arguments))
    first, *others = dict.fromkeys(blocks)
    assert blocks.count(first) == STEPS * passes
    assert [blocks.count(name) for name in others] == [2 * passes] * len(others)
    whole_steps = blocks.index(others[-1]) + 1
    assert blocks[:whole_steps] == [first, *others]
    assert blocks[-whole_steps:] == [first, *others]


def test_the_steps_between_are_computed_as_the_input_changes(
    warm: Session, flux: Path, transformer: Any
) -> None:
    counts = []
    for threshold in (0, 0.6, 1000):
        with counting(transformer) as blocks:
            warm.run(cached(flux, threshold))
        counts.append(len(blocks))
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) == 3


def test_nothing_of_it_stays_on_the_model(warm: Session, flux: Path, transformer: Any) -> None:
    plain = warm.hashes(cached(flux, None))
    for end in (
        lambda: warm.run(cached(flux, 0.6)),
        lambda: warm.cancel(cached(flux, 0.6), CancelsAt(3)),
    ):
        end()
        hooks = [
            m._diffusers_hook.hooks for m in transformer.modules() if "_diffusers_hook" in vars(m)
        ]
        assert not any(hooks)
        hooked = [m for m in transformer.modules() if m._forward_hooks or m._forward_pre_hooks]
        assert hooked == []
    assert warm.hashes(cached(flux, None)) == plain


def test_an_offloaded_model_has_it_too(session: Session, flux: Path) -> None:
    here = session.hashes(cached(flux, 0.6))
    document = cached(flux, 0.6, configuration={"offload": "model"})
    assert on_a_gpu(session).hashes(document) == here


def test_coefficients_of_ones_own(warm: Session, flux: Path) -> None:
    flat = text_to_image(
        flux,
        configuration={
            "component_type": "FluxPipeline",
            "teacache": {"rel_l1_thresh": 0.6, "coefficients": [0.0, 0.0]},
        },
        arguments={"num_inference_steps": STEPS},
    )
    assert warm.hashes(flat) == warm.hashes(cached(flux, 1000))


@pytest.mark.parametrize("x", [0.0, 0.05, 0.3])
def test_the_polynomial_has_its_highest_power_first(x: float) -> None:
    coefficients = COEFFICIENTS["flux"]
    assert polynomial(coefficients, x) == pytest.approx(np.poly1d(coefficients)(x))

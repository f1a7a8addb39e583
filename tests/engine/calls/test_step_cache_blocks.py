"""Step caches on blocks that diffusers has not registered."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import CacheMixin, FirstBlockCacheConfig
from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformerBlock
from diffusers.models.transformers.transformer_minimax_h3 import MiniMaxH3TransformerBlock

from dw.engine.calls.step_cache import register_blocks
from tests.engine.calls.test_step_caches import counting


class Stack(torch.nn.Module, CacheMixin):  # type: ignore[misc]
    """A model of three blocks, each of which takes an image and, maybe, audio."""

    def __init__(self, block: type[torch.nn.Module]) -> None:
        super().__init__()
        self.transformer_blocks = torch.nn.ModuleList(block() for _ in range(3))

    def forward(self, **streams: torch.Tensor) -> tuple[torch.Tensor, ...]:
        names = list(streams)
        for block in self.transformer_blocks:
            given = block(**streams, encoder_hidden_states=torch.zeros(7))
            results = given if isinstance(given, tuple) else (given,)
            streams = dict(zip(names, results, strict=True))
        return tuple(streams.values())


class TestBlocksThatDiffusersDoesNotKnow:
    """MiniMax-H3, whose blocks give one tensor, and LTX-2, whose blocks give image and audio;
    here they only multiply."""

    @pytest.fixture(params=[MiniMaxH3TransformerBlock, LTX2VideoTransformerBlock])
    def block(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
        def build(module: torch.nn.Module) -> None:
            torch.nn.Module.__init__(module)
            module.ff = torch.nn.Linear(8, 8)

        def one(module: Any, hidden_states: Any, encoder_hidden_states: Any) -> Any:
            return hidden_states + module.ff(hidden_states)

        def two(
            module: Any, hidden_states: Any, audio_hidden_states: Any, encoder_hidden_states: Any
        ) -> Any:
            audio = audio_hidden_states + 2 * module.ff(audio_hidden_states)
            return hidden_states + module.ff(hidden_states), audio

        is_two = request.param is LTX2VideoTransformerBlock
        monkeypatch.setattr(request.param, "__init__", build)
        monkeypatch.setattr(request.param, "forward", two if is_two else one)
        register_blocks()
        return request.param

    @torch.inference_mode()
    def test_first_block_cache_reuses_all_that_they_gave(self, block: Any) -> None:
        model = Stack(block)
        names = ["hidden_states", "audio_hidden_states"][: 1 + (block is LTX2VideoTransformerBlock)]
        inputs = {name: torch.randn(1, 4, 8) for name in names}
        near = {name: value + 1e-4 for name, value in inputs.items()}
        plain, whole = model(**inputs), model(**near)
        model.enable_cache(FirstBlockCacheConfig(threshold=1000.0))
        with model.cache_context("pass"), counting(model) as computed:
            assert all(map(torch.equal, model(**inputs), plain))
            reused = model(**near)
        assert computed.count("transformer_blocks.0") in (2, 4)
        assert computed.count("transformer_blocks.2") * 2 == computed.count("transformer_blocks.0")
        for ours, theirs, before in zip(reused, whole, plain, strict=True):
            assert torch.allclose(ours, theirs, atol=1e-2)
            assert not torch.equal(ours, before)

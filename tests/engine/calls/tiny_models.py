"""Models of a few numbers, for what is set on a denoiser and taken off it again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import CacheMixin, FluxTransformer2DModel


class Pair(torch.nn.Module):
    """A norm that gives the signal first, and something else."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, torch.ones_like(x)


class Block(torch.nn.Module):
    """Doubles the image and adds one to the text; counts how often."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = Pair()
        self.computed = 0

    def forward(self, hidden_states: Any, encoder_hidden_states: Any) -> tuple[Any, Any]:
        self.computed += 1
        self.norm1(hidden_states)
        return encoder_hidden_states + 1, hidden_states * 2


class TinyFlux(FluxTransformer2DModel):  # type: ignore[misc]
    """Two blocks of each kind, together x16; gives the text and the image."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.transformer_blocks = torch.nn.ModuleList([Block(), Block()])
        self.single_transformer_blocks = torch.nn.ModuleList([Block(), Block()])

    @property
    def blocks(self) -> list[Any]:
        return [*self.transformer_blocks, *self.single_transformer_blocks]

    def forward(self, hidden_states: Any, timestep: Any) -> tuple[Any, Any]:
        text = torch.zeros(1)
        for block in self.blocks:
            text, hidden_states = block(hidden_states=hidden_states, encoder_hidden_states=text)
        return text, hidden_states


class Caching(torch.nn.Module, CacheMixin):  # type: ignore[misc]
    """Notes what a cache is asked for."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error = error
        self.noted: list[Any] = []
        self._cache_config: Any = None

    def enable_cache(self, config: Any) -> None:
        self.noted.append(config)
        if self.error:
            raise self.error
        self._cache_config = config

    def disable_cache(self) -> None:
        self.noted.append(("off", self._cache_config))
        self._cache_config = None

    @contextmanager
    def cache_context(self, name: str) -> Iterator[None]:
        self.noted.append(name)
        yield

    def forward(self, timestep: Any = None) -> None: ...


class Pipeline:
    """Calls its model once a step."""

    def __init__(self, transformer: torch.nn.Module) -> None:
        self.transformer = transformer

    def __call__(self, num_inference_steps: int = 5) -> None:
        for step in range(num_inference_steps):
            self.transformer(timestep=torch.tensor([float(step)]))


class Joining(Pipeline):
    """Does both passes in one batch, names them itself, and tells its timestep."""

    current_timestep = 500

    def __call__(self, num_inference_steps: int = 5) -> None:
        model: Any = self.transformer
        for step in range(num_inference_steps):
            with model.cache_context("cond_uncond"):
                model(timestep=torch.tensor([float(step)]))

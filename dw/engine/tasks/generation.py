"""Text as a model of transformers writes it: each token is counted, and a stop ends it early."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from dw.engine.patches.progress_bars import Bar


class GeneratedTokens:
    """A stopping criterion, which `generate` asks after each new token. Unlike a streamer it is
    also asked where several beams are searched."""

    def __init__(self, most: int | None, take_stop: Callable[[], bool]) -> None:
        self._bar = Bar(total=most, phase="token")
        self._take_stop = take_stop
        self._is_over = False

    def __call__(self, tokens: torch.Tensor, _scores: Any, **_: Any) -> torch.Tensor:
        """`tokens`: (batch, length). Whether each text is done: (batch,)."""
        self._bar.update()
        self._is_over = self._is_over or self._take_stop()
        return torch.full(tokens.shape[:1], self._is_over, device=tokens.device)

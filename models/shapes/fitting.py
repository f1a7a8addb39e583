"""The training loop of all parts of the model."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

LANES = 2
"""Parts of each batch, each in its own thread on one core: faster than all cores for each small
operation, and parts do not wait for each other when a core is busy. The number is fixed so that a
seed gives the same weights on every machine."""
_CLIP = 1.0
"""The maximal norm of the gradient."""
_SMOOTHING = 0.98
"""Of the loss in the progress bar."""
_KEEP_EVERY = 100

_DECAY = 0.01
"""Weight decay at a rate of 1."""

Gradients = tuple[torch.Tensor, ...]
Parameters = list[torch.Tensor]


@dataclass
class Lane:
    """A source of randomness for one part of each batch."""

    random: Random
    generator: torch.Generator

    @classmethod
    def seeded(cls, seed: int) -> Lane:
        return cls(Random(seed), torch.Generator().manual_seed(seed))

    @property
    def state(self) -> Any:
        return self.random.getstate(), self.generator.get_state()

    @state.setter
    def state(self, state: Any) -> None:
        self.random.setstate(state[0])
        self.generator.set_state(state[1])


def fit(
    name: str,
    model: torch.nn.Module,
    loss: Callable[[Lane], torch.Tensor],
    *,
    seed: int,
    steps: int,
    rate: float,
    memory: float = 0.99,
    keep: Path | None = None,
) -> list[float]:
    """Train the parameters of `model` that need a gradient, and load the moving average of the
    weights into it. Returns the loss of each step.

    `loss` computes the loss of a fresh part of a batch. Matrices and convolutions are trained by
    Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon), which takes three quarters
    of the steps of AdamW here, other parameters by AdamW. The rate rises to `rate` (Muon: twice
    that) in the first tenth of the steps and falls to 0 in the rest (one cycle). `keep` is a file
    for the state, written every 100 steps: if it exists, training continues from it.
    """
    training = _Training(model, seed, steps=steps, rate=rate, memory=memory)
    if keep is not None and keep.exists():
        training.restore(torch.load(keep, weights_only=False))
    threads_before = torch.get_num_threads()
    torch.set_num_threads(1)
    with ThreadPoolExecutor(LANES) as threads, tqdm(total=steps, desc=name, smoothing=0.1) as bar:
        bar.update(training.done)
        while training.done < steps:
            training.step(threads, loss)
            bar.update()
            bar.set_postfix(loss=f"{training.shown:.4f}", refresh=False)
            if keep is not None and (training.done % _KEEP_EVERY == 0 or training.done == steps):
                temporary = keep.with_suffix(".part")
                torch.save(training.state(), temporary)
                temporary.replace(keep)
    torch.set_num_threads(threads_before)
    model.load_state_dict(training.average.module.state_dict())
    return training.losses


class _Training:
    def __init__(
        self, model: torch.nn.Module, seed: int, *, steps: int, rate: float, memory: float
    ) -> None:
        self.model = model
        named = {n: weight for n, weight in model.named_parameters() if weight.requires_grad}
        self.weights = [*named.values()]
        # For Muon a convolution is a matrix with one row for each output channel.
        matrices = {
            name: weight.detach().flatten(1).requires_grad_()
            for name, weight in named.items()
            if _is_matrix(name, weight)
        }
        others = [weight for name, weight in named.items() if name not in matrices]
        self.trained = [matrices.get(name, weight) for name, weight in named.items()]
        self.optimizers = _optimizers([*matrices.values()], others, rate)
        self.schedules = [
            torch.optim.lr_scheduler.OneCycleLR(
                optimizer,
                optimizer.defaults["lr"],
                total_steps=steps,
                pct_start=0.1,
                div_factor=10,
                cycle_momentum=False,
            )
            for optimizer in self.optimizers
        ]
        self.average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(memory))
        self.lanes = [Lane.seeded(seed * LANES + number) for number in range(LANES)]
        self.losses: list[float] = []
        self.shown = 0.0

    @property
    def done(self) -> int:
        return len(self.losses)

    def step(self, threads: ThreadPoolExecutor, loss: Callable[[Lane], torch.Tensor]) -> None:
        def part(lane: Lane) -> tuple[float, Gradients]:
            value = loss(lane)
            return value.item(), torch.autograd.grad(value, self.weights)

        values, gradients = zip(*threads.map(part, self.lanes), strict=True)
        for trained, *parts in zip(self.trained, *gradients, strict=True):
            trained.grad = torch.stack(parts).mean(0).view_as(trained)
        torch.nn.utils.clip_grad_norm_(self.trained, _CLIP)
        list(threads.map(lambda optimizer: optimizer.step(), self.optimizers))
        for schedule in self.schedules:
            schedule.step()
        self.average.update_parameters(self.model)
        self.losses.append(sum(values) / LANES)
        kept = _SMOOTHING if self.done > 1 else 0.0
        self.shown = kept * self.shown + (1 - kept) * self.losses[-1]

    def state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizers": [each.state_dict() for each in self.optimizers],
            "schedules": [each.state_dict() for each in self.schedules],
            "average": self.average.state_dict(),
            "lanes": [lane.state for lane in self.lanes],
            "losses": self.losses,
            "shown": self.shown,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        for schedule, kept in zip(self.schedules, state["schedules"], strict=True):
            schedule.load_state_dict(kept)
        self.average.load_state_dict(state["average"])
        for lane, kept in zip(self.lanes, state["lanes"], strict=True):
            lane.state = kept
        self.losses, self.shown = state["losses"], state["shown"]


def _is_matrix(name: str, weight: torch.Tensor) -> bool:
    return weight.dim() > 1 and "embedding" not in name


def _optimizers(matrices: Parameters, others: Parameters, rate: float) -> list[Optimizer]:
    """One Muon per lane, each for its share of the matrices, and AdamW for the rest."""
    by_size = sorted(matrices, key=torch.Tensor.numel)
    shares = [share for lane in range(LANES) if (share := by_size[lane::LANES])]
    optimizers: list[Optimizer] = [
        torch.optim.Muon(share, 2 * rate, weight_decay=_DECAY, adjust_lr_fn="match_rms_adamw")
        for share in shares
    ]
    if others:
        adam = torch.optim.AdamW(others, rate, weight_decay=_DECAY, betas=(0.9, 0.99))
        optimizers.append(adam)
    return optimizers

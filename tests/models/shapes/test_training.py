"""The training script, cut down to a few steps: what it makes is whole, whatever it draws."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline

from models.shapes.card import weight
from models.shapes.fitting import Lane, fit
from models.shapes.train import QUICK, train


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    train(QUICK, seed=0, work=folder / "work", out=folder)
    return folder


def test_the_folder_is_a_stock_pipeline(made: Path) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(made / "shapes")
    pipeline.set_progress_bar_config(disable=True)
    (image,) = pipeline("a red circle on blue", num_inference_steps=1).images
    assert image.size == (128, 128)
    pipeline.load_lora_weights(made / "shapes-outline")
    assert pipeline.get_active_adapters() == ["default_0"]


def test_it_is_small(made: Path) -> None:
    assert weight(made / "shapes") + weight(made / "shapes-outline") < 6e6
    assert weight(made / "shapes-outline") < 200e3


def test_the_cards_say_what_was_measured(made: Path) -> None:
    card = (made / "shapes" / "README.md").read_text(encoding="utf-8")
    assert "| number | " in card
    assert f"{QUICK.denoiser} steps of the denoiser took" in card
    assert "kB for `builtin:shapes`" in (made / "shapes-outline" / "README.md").read_text()


def test_the_time_before_an_interruption_counts(made: Path) -> None:
    seconds = json.loads((made / "work" / "clock.json").read_text())
    assert set(seconds) == {"autoencoder", "denoiser", "outline"}


@dataclass
class Task:
    """A line to be fitted to noisy points."""

    model: torch.nn.Linear
    interrupt_after: int | None = None
    calls: int = 0

    @classmethod
    def new(cls, interrupt_after: int | None = None) -> Task:
        torch.manual_seed(1)
        return cls(torch.nn.Linear(1, 1), interrupt_after)

    def loss(self, lane: Lane) -> torch.Tensor:
        self.calls += 1
        if self.calls == self.interrupt_after:
            raise KeyboardInterrupt
        x = torch.rand(8, 1, generator=lane.generator)
        return (self.model(x) - 3 * x).square().mean()


def fitted(task: Task, keep: Path | None = None) -> list[float]:
    return fit("line", task.model, task.loss, seed=1, steps=250, rate=0.1, keep=keep)


def weights(task: Task) -> list[float]:
    return [weight.item() for weight in task.model.parameters()]


def test_a_fit_ends_with_less_loss() -> None:
    losses = fitted(Task.new())
    assert losses[-1] < losses[0] / 100


def test_the_same_seed_gives_the_same_weights() -> None:
    first, second = Task.new(), Task.new()
    assert fitted(first) == fitted(second)
    assert weights(first) == weights(second)


def test_a_fit_that_was_interrupted_goes_on_where_it_was(tmp_path: Path) -> None:
    whole, broken, resumed = Task.new(), Task.new(interrupt_after=310), Task.new()
    losses = fitted(whole)
    with pytest.raises(KeyboardInterrupt):
        fitted(broken, tmp_path / "state.pt")
    assert fitted(resumed, tmp_path / "state.pt") == losses
    assert weights(resumed) == weights(whole)
    assert resumed.calls < whole.calls

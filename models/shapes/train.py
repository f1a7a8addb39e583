"""`python -m models.shapes.train`: train the model that ships with dw, from a seed alone.

It draws its own images, trains an autoencoder, a text encoder with a denoiser, and the adapter
`outline`, saves them as a stock diffusers pipeline and a LoRA, evaluates a hundred images of
held-out prompts, and writes the results into the model cards. Progress is kept in `--work`: an
interrupted training continues from there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import TypeVar

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from diffusers.utils import logging

from dw.workflow.builtin import MODELS
from models.shapes import card
from models.shapes.adapter import add_adapter, save_adapter
from models.shapes.autoencoder import (
    any_images,
    keep_latents,
    new_autoencoder,
    reconstruction,
    whiten,
)
from models.shapes.denoiser import Denoiser, Examples, denoising, examples
from models.shapes.evaluation import held_out_scenes, scores
from models.shapes.fitting import fit
from models.shapes.pipeline import new_pipeline, save_pipeline
from models.shapes.plot import plot
from models.shapes.reading import Reader, reading
from models.shapes.tokens import new_tokenizer

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plan:
    """The amounts of each part of the training."""

    parts: int  # steps of the autoencoder on crops, which cost a quarter
    wholes: int  # steps of its decoder on whole images
    whitening: int  # images by which its latents are whitened
    examples: int
    reading: int  # steps of the text encoder alone
    denoiser: int  # steps of both
    outlines: int  # examples of the adapter
    adapter: int  # steps
    prompts: int  # of the evaluation


FULL = Plan(
    parts=800,
    wholes=200,
    whitening=256,
    examples=24_000,
    reading=900,
    denoiser=9_500,
    outlines=3000,
    adapter=800,
    prompts=100,
)
QUICK = Plan(
    parts=2,
    wholes=1,
    whitening=8,
    examples=32,
    reading=2,
    denoiser=2,
    outlines=32,
    adapter=2,
    prompts=2,
)


@dataclass(frozen=True, slots=True)
class Trainer:
    plan: Plan
    seed: int
    work: Path

    def autoencoder(self) -> tuple[AutoencoderKL, list[float]]:
        torch.manual_seed(self.seed)
        vae = new_autoencoder()
        losses = fit(
            "autoencoder, parts",
            vae,
            reconstruction(vae, batch=16, side=64),
            seed=self.seed,
            steps=self.plan.parts,
            rate=3e-3,
            memory=0.98,
            keep=self.work / "parts.pt",
        )
        whiten(vae, any_images(Random(self.seed), self.plan.whitening))
        keep_latents(vae)
        losses += fit(
            "autoencoder, wholes",
            vae,
            reconstruction(vae, batch=8, noise=0.15),
            seed=self.seed + 1,
            steps=self.plan.wholes,
            rate=2e-3,
            memory=0.98,
            keep=self.work / "wholes.pt",
        )
        return vae, losses

    def denoiser(self, vae: AutoencoderKL) -> tuple[Denoiser, list[float]]:
        data = self._examples(vae, "examples.pt", self.plan.examples, outline=False)
        torch.manual_seed(self.seed + 2)
        tokenizer = new_tokenizer()
        model = Denoiser(tokenizer)
        reader = Reader(model.text_encoder)
        fit(
            "reading",
            reader,
            reading(reader, tokenizer, batch=64),
            seed=self.seed + 4,
            steps=self.plan.reading,
            rate=2e-3,
            memory=0.98,
            keep=self.work / "reading.pt",
        )
        losses = fit(
            "denoiser",
            model,
            denoising(model, tokenizer, data, batch=32),
            seed=self.seed + 2,
            steps=self.plan.denoiser,
            rate=1.5e-3,
            memory=0.998,
            keep=self.work / "denoiser.pt",
        )
        return model, losses

    def adapter(self, vae: AutoencoderKL, model: Denoiser) -> list[float]:
        """Adds the adapter to the model and trains it."""
        data = self._examples(vae, "outlines.pt", self.plan.outlines, outline=True)
        torch.manual_seed(self.seed + 3)
        add_adapter(model)
        return fit(
            "outline",
            model,
            denoising(model, new_tokenizer(), data, batch=32),
            seed=self.seed + 3,
            steps=self.plan.adapter,
            rate=2e-3,
            memory=0.98,
            keep=self.work / "outline.pt",
        )

    def _examples(self, vae: AutoencoderKL, name: str, count: int, *, outline: bool) -> Examples:
        kept = self.work / name
        if not kept.exists():
            torch.set_num_threads(1)
            made = examples(vae, seed=self.seed + 10 + outline, count=count, outline=outline)
            torch.save(made, kept)
        found = torch.load(kept, weights_only=False)
        assert isinstance(found, Examples)
        return found


def train(plan: Plan, *, seed: int, work: Path, out: Path) -> None:
    """Write `shapes` and `shapes-outline` below `out`."""
    work.mkdir(parents=True, exist_ok=True)
    trainer, clock = Trainer(plan, seed, work), Clock(work / "clock.json")
    vae, reconstructing = clock.timed("autoencoder", trainer.autoencoder)
    model, denoising_ = clock.timed("denoiser", lambda: trainer.denoiser(vae))
    pipeline = new_pipeline(vae, new_tokenizer(), model)
    save_pipeline(pipeline, out / "shapes")
    outlining = clock.timed("outline", lambda: trainer.adapter(vae, model))
    save_adapter(model, out / "shapes-outline")

    plot({"autoencoder": reconstructing, "denoiser": denoising_}, out / "shapes" / "loss.png")
    plot({"outline": outlining}, out / "shapes-outline" / "loss.png")
    saved = StableDiffusionPipeline.from_pretrained(out / "shapes")
    found = scores(saved, held_out_scenes(plan.prompts), seed=1)
    parameters = {
        name: (type(part).__name__, sum(weight.numel() for weight in part.parameters()))
        for name, part in saved.components.items()
        if isinstance(part, torch.nn.Module)
    }
    card.write(out, card.Facts(asdict(plan), seed, clock.seconds, found, parameters))


class Clock:
    """Seconds of each part of the training, including those before an interruption."""

    def __init__(self, kept: Path) -> None:
        self._kept = kept
        self.seconds: dict[str, float] = json.loads(kept.read_text()) if kept.exists() else {}

    def timed(self, name: str, work: Callable[[], T]) -> T:
        start = time.monotonic()
        try:
            return work()
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start
            self._kept.write_text(json.dumps(self.seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument(
        "--out", type=Path, default=MODELS, help="where the two folders are written"
    )
    parser.add_argument(
        "--work", type=Path, default=Path("build/shapes"), help="where progress is kept"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a few steps, as a smoke test")
    given = parser.parse_args()
    logging.set_verbosity_error()
    train(QUICK if given.quick else FULL, seed=given.seed, work=given.work, out=given.out)


if __name__ == "__main__":
    main()

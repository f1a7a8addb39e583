"""Evaluation: how often the model draws what a prompt of a held-out scene asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

from models.shapes.judge import CRITERIA, see, verdict
from models.shapes.phrases import plain
from models.shapes.scene import Scene, random_scene

STEPS = 25
GUIDANCE = 3.0
GOALS = dict.fromkeys(("colour", "shape", "ground"), 0.9) | dict.fromkeys(
    ("size", "number", "position"), 0.8
)
_PROMPTS_SEED = 100
_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class Score:
    right: int
    asked: int

    @property
    def part(self) -> float:
        return self.right / max(1, self.asked)


def held_out_scenes(count: int) -> list[Scene]:
    """The first `count` of a fixed series."""
    random = Random(_PROMPTS_SEED)
    return [random_scene(random, held_out=True)[0] for _ in range(count)]


def images(
    pipeline: StableDiffusionPipeline, prompts: Sequence[str], seed: int
) -> Iterator[Image.Image]:
    """One image of each prompt, each with its own seed."""
    for start in range(0, len(prompts), _AT_ONCE):
        some = list(prompts[start : start + _AT_ONCE])
        seeds = range(seed + start, seed + start + len(some))
        yield from pipeline(
            some,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            generator=[torch.Generator().manual_seed(each) for each in seeds],
        ).images


def scores(
    pipeline: StableDiffusionPipeline, scenes: Sequence[Scene], seed: int
) -> dict[str, Score]:
    """For each criterion, how many images are right of those whose prompt names it; `all` counts
    the images that are right in every criterion."""
    prompts = [plain(scene) for scene in scenes]
    verdicts = [
        verdict(scene, see(image))
        for scene, image in zip(scenes, images(pipeline, prompts, seed), strict=True)
    ]
    found = {}
    for criterion in CRITERIA:
        named = [right[criterion] for right in verdicts if criterion in right]
        found[criterion] = Score(sum(named), len(named))
    return found | {"all": Score(sum(all(v.values()) for v in verdicts), len(verdicts))}

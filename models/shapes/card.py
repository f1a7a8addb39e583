"""Model cards, with the measurements of the training run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.shapes.evaluation import GOALS, GUIDANCE, STEPS, Score
from models.shapes.layout import SIDE
from models.shapes.scene import COLOURS, MOST, POSITIONS, SHAPES, SIZES

_MODEL = """\
---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
---

# shapes

A text-to-image model of {size:.1f} MB that draws coloured shapes on coloured grounds, {side}x{side}
pixels, in less than a second on a CPU. It comes with dw so that a workflow can be tried, and a
test can check whether an image is right, without a GPU or a download.

    a red circle on blue
    two small green squares and a large yellow star on white, left

| what | words |
| --- | --- |
| colours, of objects and grounds | {colours} |
| shapes | {shapes} |
| numbers, up to {most} objects in all | a, one, two, three |
| sizes | {sizes} (medium where none is said) |
| positions, of all objects together | {positions} |

Two kinds of objects are joined by `and`: the first ones stand left of or above the others. The
ground may be `on blue`, `on a blue ground`, `blue background`; positions `left`, `on the left`,
`in the middle`. Where none is said, objects stand near the middle. Objects lie on a grid of 8
pixels, so that the same one looks the same to the model's cells wherever it stands.

## Use

    pipeline = StableDiffusionPipeline.from_pretrained("dw/builtin/models/shapes")
    settings = dict(num_inference_steps={steps}, guidance_scale={guidance:g})
    pipeline("a red circle on blue", **settings).images[0]

In a dw workflow its `model_name` is `builtin:shapes`. The classes are those of Stable Diffusion:
image to image, inpainting and LoRAs work as they do there.

## What is in it

| part | class | parameters |
| --- | --- | --- |
{parts}

The latents are 4x32x32, with zero mean and no correlation: three tell colours, and one, at half
their deviation, where in a cell of 4x4 pixels an edge is. The scheduler starts from pure noise
(zero terminal SNR), the U-Net predicts velocities. A prompt has at most 32 tokens, one a word; a
word that the model does not know becomes letters, which it has learnt to pass over.

## How it was made

`python -m models.shapes.train --seed {seed}`, from nothing: the script draws its own images, so
there is no data set and nobody's work in it.
{times}

![loss](loss.png)

## How good it is

{prompts} prompts of scenes that were never trained on, one image each, judged by plain image
analysis (`models/shapes/judge.py`): no other model judges. An object is identified by its colour,
so one of a wrong colour is wrong in every criterion.

{scores}

## Limits

It knows the words above and nothing else: no other colours, no overlapping objects, no
positions of single objects, no more than {most} of them, no size other than {side}x{side}.
The table above says how often it is wrong. It is a toy for trying and testing, and no measure of
what diffusion models can do.

Licence: Apache-2.0, as dw itself.
"""

_ADAPTER = """\
---
license: apache-2.0
library_name: diffusers
base_model: builtin:shapes
tags: [lora]
---

# shapes-outline

A LoRA of {size:.0f} kB for `builtin:shapes`: the same scenes, their objects drawn as outlines. Its
prompts are those of the model; a scale of 1 draws outlines, 0 the shapes as they were.

    pipeline.load_lora_weights("dw/builtin/models/shapes-outline")

Lines of large objects are whole; those of small ones run into each other, and specks of other
colours stay where the inside was.

Rank 4, on what attention passes on and on the convolutions of the U-Net. Made by
`python -m models.shapes.train` after the model itself, on outlines that the script draws.
{times}

![loss](loss.png)

Licence: Apache-2.0, as dw itself.
"""


@dataclass(frozen=True, slots=True)
class Facts:
    """`plan`: the amounts of each part; `seconds` of each part; `scores` by criterion."""

    plan: Mapping[str, Any]
    seed: int
    seconds: Mapping[str, float]
    scores: Mapping[str, Score]
    parameters: Mapping[str, tuple[str, int]]  # class and number, by part


def write(out: Path, facts: Facts) -> None:
    """Write a README.md in each of the two folders below `out`."""
    shapes, outline = out / "shapes", out / "shapes-outline"
    parts = [f"| {n} | `{kind}` | {count:,} |" for n, (kind, count) in facts.parameters.items()]
    model = _MODEL.format(
        size=weight(shapes) / 1e6,
        side=SIDE,
        most=MOST,
        colours=", ".join(COLOURS),
        shapes=", ".join(SHAPES),
        sizes=", ".join(name for name in SIZES if name != "medium"),
        positions=", ".join(POSITIONS),
        steps=STEPS,
        guidance=GUIDANCE,
        parts="\n".join(parts),
        seed=facts.seed,
        times=_times(facts, "autoencoder", "denoiser"),
        prompts=facts.plan["prompts"],
        scores=_table(facts.scores),
    )
    (shapes / "README.md").write_text(model, encoding="utf-8")
    adapter = _ADAPTER.format(size=weight(outline) / 1e3, times=_times(facts, "outline"))
    (outline / "README.md").write_text(adapter, encoding="utf-8")


def weight(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _times(facts: Facts, *parts: str) -> str:
    steps = {
        "autoencoder": facts.plan["parts"] + facts.plan["wholes"],
        "denoiser": facts.plan["denoiser"],
        "outline": facts.plan["adapter"],
    }
    told = [
        f"{steps[name]} steps of the {name} took {facts.seconds[name] / 60:.0f} minutes"
        for name in parts
    ]
    return f"{' and '.join(told)} on two cores that others used as well."


def _table(scores: Mapping[str, Score]) -> str:
    rows = [
        f"| {name} | {score.right} of {score.asked} | {score.part:.0%} | {_goal(name)} |"
        for name, score in scores.items()
    ]
    return "\n".join(["| right in | images | | goal |", "| --- | --- | --- | --- |", *rows])


def _goal(criterion: str) -> str:
    return f"{GOALS[criterion]:.0%}" if criterion in GOALS else ""

"""Reading: pretraining of the text encoder, which answers questions about the scene of a prompt.

Without it the denoiser learns the ground of a scene early, but its objects only after many more
steps: most of a prompt describes objects, which are a small part of an image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from transformers import CLIPTextModel, CLIPTokenizer

from models.shapes.fitting import LANES, Lane
from models.shapes.phrases import phrase
from models.shapes.scene import COLOURS, MOST, POSITIONS, SHAPES, SIZES, Scene, random_scene
from models.shapes.tokens import tokens

_GROUPS = 2
_OF_GROUP = (MOST, len(SIZES), len(COLOURS), len(SHAPES))
_KINDS = (len(COLOURS), len(POSITIONS), *_OF_GROUP * _GROUPS)
"""The number of answers of each question about a scene, besides `not given`."""


class Reader(torch.nn.Module):
    """A text encoder with a classifier per question on its last token, the only one that attends to
    all others."""

    def __init__(self, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        width = text_encoder.config.hidden_size
        self.answers = torch.nn.ModuleList(torch.nn.Linear(width, n + 1) for n in _KINDS)

    def forward(self, ids: torch.Tensor) -> list[torch.Tensor]:
        """For token ids (batch, length) the scores (batch, answers) for each question."""
        last = self.text_encoder(ids).last_hidden_state[:, -1]
        return [answer(last) for answer in self.answers]


def reading(
    reader: Reader, tokenizer: CLIPTokenizer, *, batch: int
) -> Callable[[Lane], torch.Tensor]:
    """The cross entropy of the answers for random prompts."""
    tokens(tokenizer, [""])  # sets its padding, which is not thread-safe

    def loss(lane: Lane) -> torch.Tensor:
        scenes = [random_scene(lane.random)[0] for _ in range(batch // LANES)]
        ids = tokens(tokenizer, [phrase(scene, lane.random) for scene in scenes])
        right = torch.tensor([list(_answers(scene)) for scene in scenes])  # (batch, questions)
        errors = [
            torch.nn.functional.cross_entropy(scores, right[:, question])
            for question, scores in enumerate(reader(ids))
        ]
        return torch.stack(errors).mean()

    return loss


def _answers(scene: Scene) -> Iterator[int]:
    """The index of the answer to each question; 0 if the scene does not give it."""
    yield 1 + [*COLOURS].index(scene.ground)
    yield 0 if scene.position is None else 1 + POSITIONS.index(scene.position)
    for group in (*scene.groups, None, None)[:_GROUPS]:
        if group is None:
            yield from (0,) * len(_OF_GROUP)
        else:
            yield group.count
            yield 1 + [*SIZES].index(group.size)
            yield 1 + [*COLOURS].index(group.colour)
            yield 1 + SHAPES.index(group.shape)

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dw.engine.files.access import FileAccess
from dw.engine.tasks import TaskContext, run_task
from dw.engine.tasks.masks import ADE20K
from dw.errors import TrustWorkflow
from tests.engine.session import Session, workflow
from tests.engine.tasks.commands import run, step


def test_what_is_found_is_white_and_inverted_black(session: Session, cat: Path) -> None:
    mask, inverted = (
        np.asarray(run(session, "segment", image="cat.png", prompt="a cat", invert=invert))
        for invert in (False, True)
    )
    assert mask.shape == (64, 64)
    assert set(np.unique(mask)) == {0, 255}
    assert np.array_equal(mask, 255 - inverted)


def test_nothing_found_is_a_black_mask(session: Session, cat: Path) -> None:
    mask = run(session, "segment", image="cat.png", prompt="a cat", threshold=1.0)
    assert (mask.mode, mask.getextrema()) == ("L", (0, 0))


def test_each_class_has_its_colour(session: Session, cat: Path) -> None:
    found = np.asarray(run(session, "segmentation", image="cat.png"))
    assert found.shape == (64, 64, 3)
    colours = {tuple(int(x) for x in c) for c in found.reshape(-1, 3)}
    assert len(colours) > 1
    assert colours <= {tuple(int(x) for x in c) for c in ADE20K}


def test_the_palette_has_a_colour_for_each_class() -> None:
    assert ADE20K.shape == (150, 3)
    wall, building, sky = ADE20K[:3].tolist()
    assert (wall, building, sky) == ([120, 120, 120], [180, 120, 120], [6, 230, 230])


class SeesTheLeft(torch.nn.Module):
    def forward(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        logits = torch.full((1, 1, *pixels.shape[2:]), -20.0)
        logits[..., : pixels.shape[3] // 2] = 20
        return [logits]


def test_the_background_is_hidden() -> None:
    context = TaskContext(FileAccess(Path()), lambda: None, models={"model": SeesTheLeft()})
    image = Image.new("RGB", (40, 20), "red")
    [cut] = run_task("remove_background", {"image": image}, context)
    assert cut.mode == "RGBA"
    assert cut.getpixel((5, 10)) == (255, 0, 0, 255)
    assert cut.getpixel((35, 10)) == (255, 0, 0, 0)


def test_code_from_the_hub_needs_trust(session: Session, cat: Path) -> None:
    error = session.fail(workflow(step("remove_background", None, image="cat.png")))
    assert error.message == "the model 'briaai/RMBG-2.0' brings Python code of its own"
    assert error.hints == (TrustWorkflow("you trust it"),)

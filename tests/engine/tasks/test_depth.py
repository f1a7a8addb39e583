from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dw.engine.files.access import FileAccess
from dw.engine.tasks import TaskContext, run_task
from tests.engine.session import Session
from tests.engine.tasks.commands import run


class FarBelow(torch.nn.Module):
    """A model that sees the upper rows near, at 8, and the lower ones far, at 1."""

    def forward(self, pixel_values: torch.Tensor) -> object:
        rows = torch.linspace(8, 1, 16)[None, :, None].expand(1, 16, 16)

        class Output:
            predicted_depth = rows

        assert pixel_values.shape == (1, 3, 16, 16)
        return Output


def processor(*, images: Image.Image, return_tensors: str) -> dict[str, torch.Tensor]:
    return {"pixel_values": torch.zeros(1, 3, 16, 16)}


CONTEXT = TaskContext(
    FileAccess(Path()), lambda: None, models={"model": FarBelow(), "processor": processor}
)
WIDE = Image.new("RGB", (40, 20))


def test_near_is_white_and_the_size_is_what_was_asked_for() -> None:
    [found] = run_task("depth", {"image": WIDE, "width": 64, "height": 32}, CONTEXT)
    assert (found.size, found.mode) == ((64, 32), "RGB")
    assert found.getpixel((10, 0)) == (255, 255, 255)
    assert found.getpixel((10, 31)) == (0, 0, 0)


def test_an_estimate_has_the_size_of_the_image() -> None:
    [found] = run_task("depth_estimator", {"image": WIDE}, CONTEXT)
    assert found.size == WIDE.size


def test_metres_are_turned_round_and_spread_between_percentiles() -> None:
    [found] = run_task("zoe_depth", {"image": WIDE}, CONTEXT)
    column = np.asarray(found)[:, 5, 0]
    assert column[0] == column[1] == 0  # far, beyond the 85th percentile
    assert column[-1] == 255
    assert sorted(column) == list(column)


def test_a_tensor_has_the_dtype_that_was_asked_for() -> None:
    [found] = run_task("depth_estimator_tensor", {"image": WIDE, "dtype": torch.float16}, CONTEXT)
    assert (found.shape, found.dtype) == ((1, 3, 20, 40), torch.float16)
    assert (found.min(), found.max()) == (0, 1)


@pytest.mark.parametrize("command", ["depth", "depth_estimator", "zoe_depth"])
def test_a_real_model_estimates(warm: Session, command: str) -> None:
    Image.linear_gradient("L").resize((96, 64)).save(warm.folder / "cat.png")
    assert run(warm, command, image="cat.png").size == (
        (1024, 1024) if command == "depth" else (96, 64)
    )
    assert len(warm.engine.memory().components) == 2

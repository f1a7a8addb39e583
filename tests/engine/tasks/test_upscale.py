from __future__ import annotations

import sys
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from PIL import Image

from dw.engine.tasks.upscale import Upscaler, in_tiles
from dw.errors import RunFailed
from dw.extras import install
from dw.rehearsal.task_stand_ins import Enlarger
from tests.engine.session import PNG, Session, workflow
from tests.engine.tasks.commands import phases, run, step

ESRGAN = {"model_name": "ai-forever/Real-ESRGAN", "filename": "RealESRGAN_x4.pth"}


class Twice(torch.nn.Module):
    """Repeats each pixel, and remembers the tiles."""

    scale = 2

    def __init__(self) -> None:
        super().__init__()
        self.tiles: list[tuple[int, int]] = []

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.tiles.append((pixels.shape[2], pixels.shape[3]))
        return pixels.repeat_interleave(2, 2).repeat_interleave(2, 3)


@pytest.mark.parametrize(
    ("size", "overlap", "count"), [(512, 32, 1), (32, 0, 6), (32, 8, 12), (33, 16, 15)]
)
def test_tiles_fit_together_without_a_seam(size: int, overlap: int, count: int) -> None:
    pixels = torch.rand(1, 3, 64, 90)
    model = Twice()
    larger = in_tiles(model, pixels, size, overlap)
    torch.testing.assert_close(larger, Twice()(pixels))
    assert len(model.tiles) == count
    assert max(max(tile) for tile in model.tiles) <= max(size, 90 if count == 1 else 0)


def test_the_end_of_a_tile_counts_less_than_its_middle() -> None:
    class Marks(Twice):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            super().forward(pixels)
            return torch.full((1, 3, 2 * pixels.shape[2], 2 * pixels.shape[3]), len(self.tiles))

    row = in_tiles(Marks(), torch.zeros(1, 3, 16, 48), 32, 16)[0, 0, 0]
    assert (row[0], row[-1]) == (1, 2)
    between = row[32:64]  # where both tiles are
    assert torch.all(between.diff() > 0)


def test_an_overlap_of_more_than_half_is_refused() -> None:
    with pytest.raises(RunFailed, match="tiles of 32 pixels cannot overlap by 17: at most half"):
        in_tiles(Twice(), torch.zeros(1, 3, 8, 8), 32, 17)


def test_an_image_is_upscaled_tile_by_tile(session: Session, cat: Path) -> None:
    larger = run(session, "upscale", image="cat.png", tile_size=32, tile_overlap=8, **ESRGAN)
    assert larger.size == (256, 256)
    assert "tile" in phases(session)
    smaller = larger.resize((64, 64), Image.Resampling.BOX)
    assert np.abs(np.asarray(smaller).astype(int) - np.asarray(Image.open(cat))).max() <= 1


@pytest.mark.parametrize(
    ("name", "scale"),
    [("a/RealESRGAN_x2plus.pth", 2), ("a/4x-UltraSharp.pth", 4), ("a/GFPGANv1.4.pth", 1)],
)
def test_a_stand_in_has_the_scale_that_its_name_tells(name: str, scale: int) -> None:
    assert Enlarger(name).scale == scale


def test_a_file_that_is_not_there_is_told(session: Session, cat: Path) -> None:
    missing = step("upscale", None, image="cat.png", model_name=".", filename="x4.pth")
    error = session.fail(workflow(missing))
    assert error.message.endswith(" has no file 'x4.pth'")


def test_a_missing_library_is_told_with_its_extra(
    session: Session, cat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    (session.folder / "model.safetensors").write_bytes(b"")
    error = session.fail(
        workflow(step("upscale", None, image="cat.png", model_name="model.safetensors"))
    )
    assert "spandrel" in error.message
    assert error.hints == (install("spandrel"),)


# diffusers' own, with numpy 2
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(("mode", "side"), [("x4", 128), ("x2", 128)])
def test_a_diffusion_model_draws_the_details(session: Session, mode: str, side: int) -> None:
    small = side // int(mode[1])
    Image.linear_gradient("L").resize((small, small)).save(session.folder / "cat.png")
    drawing = step("diffusion_upscale", PNG, image="cat.png", mode=mode, num_inference_steps=2)
    first, again, other = (
        session.run(workflow(drawing), rehearse=True, seed=seed).outputs[0] for seed in (1, 1, 2)
    )
    assert (first.width, first.height) == (side, side)
    assert first.sha256 == again.sha256 != other.sha256
    assert "diffusion_upscale.unet" in {row.name for row in session.engine.memory().components}


def test_a_program_in_the_place_of_weights_is_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with ZipFile(path, "w") as archive:
        archive.writestr("model/constants.pkl", b"")
    with pytest.raises(RunFailed, match=r"model\.pt is a TorchScript program, not weights"):
        Upscaler.from_single_file(str(path))

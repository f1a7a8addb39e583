from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.engine.session import Session
from tests.engine.tasks.commands import phases, run

GFPGAN = {"model_name": "leonelhs/gfpgan", "filename": "GFPGANv1.4.pth"}


@pytest.mark.parametrize(("factor", "size"), [(1, (64, 64)), (2, (128, 128))])
def test_faces_are_made_anew_in_an_image_of_the_size_asked_for(
    session: Session, cat: Path, factor: int, size: tuple[int, int]
) -> None:
    found = run(session, "restore_faces", image="cat.png", upscale_factor=factor, **GFPGAN)
    assert found.size == size
    assert "face" in phases(session)


def test_colours_come_out_as_they_went_in(session: Session, cat: Path) -> None:
    from PIL import Image

    Image.new("RGB", (64, 64), "red").save(cat)
    found = np.asarray(run(session, "restore_faces", image="cat.png", **GFPGAN))
    assert np.array_equal(found, np.full((64, 64, 3), (255, 0, 0)))

"""A run that is varied in a later session, from its number and from its picture."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "examples/shapes.json", tmp_path / "shapes.json")
    return tmp_path


def dw(folder: Path, *lines: str, code: int = 0) -> str:
    """What one session prints."""
    homes = {f"XDG_{n}_HOME": str(folder / n) for n in ("CACHE", "STATE", "CONFIG")}
    done = subprocess.run(
        [sys.executable, "-m", "dw", "-q", *(word for line in lines for word in ("-c", line))],
        cwd=folder,
        env={**os.environ, **homes, "DW_STANDBY": "off", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def picture(folder: Path, number: int) -> bytes:
    [file] = (folder / f"outputs/shapes/{number:04d}").glob("*.png")
    return file.read_bytes()


RUN = "run seed=7 num_inference_steps=2 prompt='a red star on white'"


def test_yesterday_s_run_is_varied_today_whatever_its_file_says(folder: Path) -> None:
    dw(folder, "load shapes.json", RUN, "try run width=63")
    text = (folder / "shapes.json").read_text()
    (folder / "shapes.json").write_text(text.replace('"guidance_scale": 3.0', '"guidance": 4'))
    again = dw(
        folder,
        *("rerun 1", "rerun 1 guidance_scale=5", "load 0001", "run", "trace 2", "retry"),
        *("load outputs/latest.png", "run seed=last"),
    )
    assert "divisible by 8" in again
    assert picture(folder, 3) == picture(folder, 5) == picture(folder, 6) == picture(folder, 1)
    assert picture(folder, 7) == picture(folder, 1) != picture(folder, 4)
    assert (folder / "outputs/latest.png").read_bytes() == picture(folder, 7)
    records = [
        json.loads((folder / f"outputs/shapes/{n:04d}/run.json").read_text()) for n in (1, 3)
    ]
    assert records[0]["models"] == records[1]["models"]
    assert records[0]["models"]["draw.unet"]["content"]
    assert len(list((folder / "outputs/.dw/workflows").iterdir())) == 1


def test_a_picture_alone_is_enough_and_without_metadata_it_tells_nothing(folder: Path) -> None:
    dw(folder, "load shapes.json", RUN, "config metadata=off", RUN)
    shutil.copy(folder / "outputs/latest.png", folder / "mute.png")
    [file] = (folder / "outputs/shapes/0001").glob("*.png")
    file.rename(folder / "a.png")
    first = (folder / "a.png").read_bytes()
    with Image.open(folder / "a.png") as image:
        assert image.info["parameters"].startswith("a red star on white\nSteps: 2, ")
    shutil.rmtree(folder / "outputs")
    (folder / "shapes.json").unlink()
    dw(folder, "load a.png", "run")
    assert picture(folder, 1) == first
    assert "mute.png' does not tell how it was made" in dw(folder, "load mute.png", code=2)

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from dw.engine.tasks.detectors import DETECTORS, Detector
from dw.engine.tasks.registry import commands, models_of
from dw.errors import RunFailed
from dw.extras import install
from tests.engine.session import Session
from tests.engine.tasks.commands import run


@pytest.mark.parametrize("command", DETECTORS)
def test_each_detector_is_rehearsed(warm: Session, command: str) -> None:
    Image.linear_gradient("L").resize((96, 64)).save(warm.folder / "cat.png")
    found = run(warm, command, image="cat.png", image_resolution=256)
    assert (found.size, found.mode) == ((384, 256), "RGB")


@pytest.mark.parametrize("command", DETECTORS)
def test_each_detector_says_what_it_finds(command: str) -> None:
    assert commands()[command].function.__doc__.endswith(f"go to {DETECTORS[command].cls}.")


def test_the_weights_are_named_one_by_one() -> None:
    part = models_of("openpose", {"image": None})["model"]
    assert part.source == "lllyasviel/Annotators"
    assert part.files == ("body_pose_model.pth", "hand_pose_model.pth", "facenet.pth")
    assert models_of("shuffle", {"image": None})["model"].source is None


class Lines:
    """A detector as controlnet-aux has them: no module itself, and its networks inside."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.body = SimpleNamespace(model=torch.nn.Linear(2, 3))

    @classmethod
    def from_pretrained(cls, path: str, filename: str | None = None) -> Lines:
        return cls(f"{path}/{filename}")

    def __call__(self, image: Image.Image, output_type: str, scribble: bool = False) -> Any:
        return (image, output_type, scribble)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("controlnet_aux")
    module.Lines = Lines  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "controlnet_aux", module)
    monkeypatch.setitem(sys.modules, "mmpose", None)


def test_a_detector_is_loaded_from_its_file_and_shows_its_networks(library: None) -> None:
    detector = Detector.from_single_file("/models/lines.pth", detector="Lines")
    assert detector.detector.path == "/models/lines.pth"
    assert [tuple(p.shape) for p in detector.parameters()] == [(3, 2), (3,)]
    assert detector("image", scribble=True) == ("image", "pil", True)


def test_a_missing_library_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "controlnet_aux", None)
    with pytest.raises(RunFailed, match="a library is missing") as failure:
        Detector.from_single_file(str(Path("lines.pth")), detector="Lines")
    assert failure.value.hints == (install("controlnet_aux"),)


def test_a_missing_library_of_dwpose_is_told_with_what_installs_it(library: None) -> None:
    with pytest.raises(RunFailed, match="mmpose") as failure:
        Detector.from_pretrained(".", detector="DWposeDetector")
    assert failure.value.hints == (install("mmpose"),)

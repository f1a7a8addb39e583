from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from dw.engine import Engine
from dw.rehearsal import stand_in
from tests.engine.session import Session


@pytest.fixture(scope="session", autouse=True)
def as_in_a_worker(stand_ins: Path) -> Iterator[None]:
    """Models are stand-ins, and nothing asks the network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        torch.set_num_threads(1)  # several would wait for each other beside other test processes
        yield


@pytest.fixture(scope="session")
def sd15(stand_ins: Path) -> Path:
    return stand_in("StableDiffusionPipeline", "")


@pytest.fixture(scope="session")
def sdxl(stand_ins: Path) -> Path:
    return stand_in("StableDiffusionXLPipeline", "")


@pytest.fixture(scope="session")
def sd3(stand_ins: Path) -> Path:
    return stand_in("StableDiffusion3Pipeline", "")


@pytest.fixture(scope="session")
def flux(stand_ins: Path) -> Path:
    return stand_in("FluxPipeline", "")


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """A fresh engine that writes below the test's own folder."""
    return Session(Engine(), tmp_path)


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """An engine that the tests of a module share, whatever it holds."""
    return Session(Engine(), tmp_path_factory.mktemp("warm"))


@pytest.fixture
def cat(session: Session) -> Path:
    """An image of 64x64 beside the session's workflows."""
    image = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    image.save(session.folder / "cat.png")
    return session.folder / "cat.png"

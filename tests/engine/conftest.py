from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from dw.engine import Engine
from dw.rehearsal import stand_in, store
from tests.engine.session import Session


@pytest.fixture(scope="session", autouse=True)
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The stand-ins of the whole session lie in one cache folder, and nothing asks the network."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "cache_dir", lambda: cache)
        patch.setenv("HF_HUB_OFFLINE", "1")
        torch.set_num_threads(1)  # several would wait for each other beside other test processes
        gc.collect()
        gc.freeze()  # as the worker does: a collection takes 300 ms before it
        yield
        gc.unfreeze()


@pytest.fixture(scope="session")
def sd15(stand_ins: None) -> Path:
    return stand_in("StableDiffusionPipeline", "")


@pytest.fixture(scope="session")
def sdxl(stand_ins: None) -> Path:
    return stand_in("StableDiffusionXLPipeline", "")


@pytest.fixture(scope="session")
def flux(stand_ins: None) -> Path:
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
    """A picture of 64x64 beside the session's workflows."""
    image = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    image.save(session.folder / "cat.png")
    return session.folder / "cat.png"

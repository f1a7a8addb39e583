from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dw.rehearsal import store

# On a few cores the threads of two tests fight, and a tiny model is faster on one in any case.
# torch reads it when it is imported, here and in each worker.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_finish() -> None:
    """As the worker does after its imports: a collection takes 300 ms before it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The stand-ins of all test processes lie in one cache folder, so that each is made once."""
    base = tmp_path_factory.getbasetemp()
    cache = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "cache_dir", lambda: cache)
        yield cache / "rehearsal"

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dw.rehearsal import Family, stand_in, store


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder that the whole session shares."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "cache_dir", lambda: cache)
        yield cache / "rehearsal"


@pytest.fixture
def fresh(tmp_path: Path, stand_ins: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setattr(store, "cache_dir", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "rehearsal"


def folder_of(family: Family) -> Path:
    return stand_in(family.pipeline, next(iter(family.words), ""))

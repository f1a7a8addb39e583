from __future__ import annotations

from pathlib import Path

import pytest

from dw.rehearsal import Family, stand_in, store


@pytest.fixture
def fresh(tmp_path: Path, stand_ins: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setattr(store, "cache_dir", lambda: tmp_path / "cache")
    return tmp_path / "cache" / "rehearsal"


def folder_of(family: Family) -> Path:
    return stand_in(family.pipeline, next(iter(family.words), ""))

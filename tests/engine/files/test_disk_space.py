from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from dw.engine.files import disk_space
from dw.engine.files.disk_space import Extent, require_room, require_short
from dw.errors import OutOfResources, RunFailed, SetOutputDir
from tests.engine.session import Session, text_to_image, workflow

BLOCK = 4096


def free(monkeypatch: pytest.MonkeyPatch, nbytes: int) -> list[Path]:
    """Make the disk have this room; the folders that are asked about."""
    asked: list[Path] = []

    def usage(folder: Path) -> shutil._ntuple_diskusage:
        asked.append(folder)
        return shutil._ntuple_diskusage(10**9, 10**9 - nbytes, nbytes)

    monkeypatch.setattr(disk_space.shutil, "disk_usage", usage)
    return asked


@pytest.mark.parametrize(
    ("extent", "least_bytes"),
    [
        (Extent("a", "image/png"), BLOCK),
        (Extent("a", "text/plain", 3), 3 * BLOCK),
        (Extent("a", "image/bmp", 1, 1000), BLOCK),
        (Extent("a", "image/bmp", 1, 2000), 2 * BLOCK),
        (Extent("a", "image/bmp", 2, 1_000_000), 2 * 733 * BLOCK),
        (Extent("a", "image/png", 1, 1_000_000), 25 * BLOCK),
    ],
)
def test_files_need_whole_blocks(extent: Extent, least_bytes: int) -> None:
    assert extent.least_bytes == least_bytes


def test_too_little_room_is_told_with_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = free(monkeypatch, 2 * BLOCK)
    extents = [Extent("a", "image/png"), Extent("b", "image/bmp", 1, 1_000_000)]
    with pytest.raises(OutOfResources) as caught:
        require_room(tmp_path / "not" / "there", extents)
    assert caught.value.message == (
        f"the output folder '{tmp_path}/not/there' has room for 8.2 kB, and the files of this run "
        "need at least 3.0 MB"
    )
    assert caught.value.hints == (SetOutputDir(),)
    assert asked == [tmp_path]


def test_just_enough_room_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extents = [Extent("a", "image/png")]
    free(monkeypatch, 2 * BLOCK)
    require_room(tmp_path, extents)
    free(monkeypatch, 2 * BLOCK - 1)
    with pytest.raises(OutOfResources):
        require_room(tmp_path, extents)


def test_a_run_without_room_ends_before_its_first_step(
    session: Session, sd15: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free(monkeypatch, 0)
    error = session.fail(text_to_image(sd15))
    assert isinstance(error, OutOfResources)
    assert "has room for 0 bytes" in error.message
    assert session.events == []
    assert not (session.folder / "outputs").exists()


def test_a_path_that_is_too_long_is_told() -> None:
    folder = Path("/", *["d" * 200] * 20)
    require_short(folder, "w" * 60, [Extent("x" * 4, "image/png")])
    assert len(os.fsencode(folder)) + 1 + 60 + len("/0000/") + 4 == 4091
    with pytest.raises(RunFailed, match="would have 4096 bytes, at most 4095 are possible"):
        require_short(folder, "w" * 60, [Extent("a", "text/plain"), Extent("x" * 9, "image/png")])


def test_a_workflow_without_files_needs_room_for_its_record(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = {"name": "a", "task": {"command": "gather_inputs", "inputs": [1]}}
    free(monkeypatch, BLOCK)
    session.run(workflow(step))
    free(monkeypatch, BLOCK - 1)
    with pytest.raises(OutOfResources):
        session.run(workflow(step))

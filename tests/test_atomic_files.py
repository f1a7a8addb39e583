"""Files that are replaced whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from dw.atomic_files import replace_file
from tests.disks import full_disk


def rights(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_has_its_content_and_its_rights(tmp_path: Path) -> None:
    replace_file(tmp_path / "a.json", b"new", mode=0o600)
    assert (tmp_path / "a.json").read_bytes() == b"new"
    assert rights(tmp_path / "a.json") == 0o600
    assert os.listdir(tmp_path) == ["a.json"]


def test_the_umask_counts_where_no_rights_are_asked_for(tmp_path: Path) -> None:
    former = os.umask(0o027)
    try:
        replace_file(tmp_path / "a.json", b"new")
    finally:
        os.umask(former)
    assert rights(tmp_path / "a.json") == 0o640


def test_the_rights_of_a_file_that_is_replaced_stay(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(b"a longer old content")
    file.chmod(0o640)
    replace_file(file, b"new", mode=0o600)
    assert (file.read_bytes(), rights(file)) == (b"new", 0o640)


def test_nobody_sees_half_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is whole and on the disk, its name has the old content."""
    file = tmp_path / "a.json"
    file.write_bytes(b"old")
    seen = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (seen.append(file.read_bytes()), sync(fd)))
    replace_file(file, b"new")
    assert seen == [b"old"]
    assert file.read_bytes() == b"new"


@pytest.mark.parametrize("what", ["fsync", "replace"])
def test_an_error_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = tmp_path / "a.json"
    file.write_bytes(b"old")
    monkeypatch.setattr(*{"fsync": (os, "fsync"), "replace": (Path, "replace")}[what], fail)
    with pytest.raises(OSError, match="No space left"):
        replace_file(file, b"new")
    assert os.listdir(tmp_path) == ["a.json"]
    assert file.read_bytes() == b"old"


def test_what_an_earlier_attempt_has_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".a.json.part").write_bytes(b"half of something much longer")
    replace_file(tmp_path / "a.json", b"new")
    assert (tmp_path / "a.json").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_full_disk_keeps_the_old_content(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    with full_disk(folder):
        os.truncate(folder / "filling", 4096)
        (folder / "a.json").write_bytes(b"old")
        with pytest.raises(OSError, match="No space left"):
            replace_file(folder / "a.json", bytes(1 << 20))
        assert (folder / "a.json").read_bytes() == b"old"
        assert sorted(os.listdir(folder)) == ["a.json", "filling"]

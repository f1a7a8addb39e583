"""What counts as a change of a file, by those who write files in one way or another."""

from __future__ import annotations

import json
import os
import struct
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import pytest
from PIL import Image

from dw.console import watched_files
from dw.console.watched_files import Content, WatchedFiles, _is_whole

PATIENCE_S = 30.0
PAUSE_S = 0.12  # longer than a file must rest that is whole
Writer = Callable[[Path, str], None]


def in_place(path: Path, text: str) -> None:
    path.write_text(text)


def truncated_first(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.flush()
        time.sleep(PAUSE_S)
        file.write(text)


def in_parts(path: Path, text: str) -> None:
    with path.open("w") as file:
        for part in (text[:5], text[5:9], text[9:]):
            file.write(part)
            file.flush()
            time.sleep(PAUSE_S)


def appended(path: Path, text: str) -> None:
    """A shorter text that is not JSON, and then its end."""
    path.write_text(text[:-1])
    with path.open("a") as file:
        time.sleep(PAUSE_S)
        file.write(text[-1:])


def renamed(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)


def as_vim(path: Path, text: str) -> None:
    path.rename(path.with_name(path.name + "~"))
    path.write_text(text)
    path.with_name(path.name + "~").unlink()


def deleted_first(path: Path, text: str) -> None:
    path.unlink()
    time.sleep(PAUSE_S)
    path.write_text(text)


def in_a_new_folder(path: Path, text: str) -> None:
    """As a checkout or a synchroniser does."""
    old = path.parent.with_name("old")
    path.parent.rename(old)
    path.parent.mkdir()
    path.write_text(text)
    for each in old.iterdir():
        each.unlink()
    old.rmdir()


def by_a_link(path: Path, text: str) -> None:
    target = path.with_name(f"target-{time.monotonic_ns()}")
    target.write_text(text)
    link = path.with_name("link")
    link.symlink_to(target.name)
    link.replace(path)


def touched_and_written(path: Path, text: str) -> None:
    os.utime(path)
    before = path.read_text()
    path.write_text(before)
    path.write_text("\n" + before + "  // a note\n")
    time.sleep(PAUSE_S)
    path.write_text(text)


WRITERS: tuple[Writer, ...] = (
    in_place,
    truncated_first,
    in_parts,
    appended,
    renamed,
    as_vim,
    deleted_first,
    in_a_new_folder,
    by_a_link,
    touched_and_written,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "work" / "w.json"
    path.parent.mkdir()
    path.write_text('{"value": 0}')
    return path


@pytest.fixture
def watched(file: Path) -> Iterator[WatchedFiles]:
    with WatchedFiles() as files:
        files.follow([file])
        yield files


def follow(watched: WatchedFiles, file: Path, writers: list[Writer]) -> list[int]:
    """The values that were seen while each writer writes another one, after the one before was
    seen."""
    seen: list[int] = []
    content = watched.content()
    for number, write in enumerate(writers, start=1):
        text = json.dumps({"value": number, "text": "x" * 20})
        thread = threading.Thread(target=write, args=(file, text))
        thread.start()
        timer = threading.Timer(PATIENCE_S, watched.end)
        timer.start()
        while (now := watched.changed(content)) is not None:
            content = {**content, **now}
            seen.append(json.loads(file.read_text())["value"])
            if seen[-1] == number:
                break
        timer.cancel()
        thread.join()
    return seen


def test_each_writer_leads_to_one_change_with_what_was_written_last(
    watched: WatchedFiles, file: Path
) -> None:
    assert follow(watched, file, [*WRITERS]) == [*range(1, len(WRITERS) + 1)]


@pytest.mark.long
def test_300_changes_by_all_writers_are_300(watched: WatchedFiles, file: Path) -> None:
    writers = [write for write, _ in zip(cycle(WRITERS), range(300), strict=False)]
    assert follow(watched, file, writers) == [*range(1, 301)]


@pytest.mark.long
def test_a_trainer_that_writes_for_three_seconds_leads_to_one_change(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    with WatchedFiles() as files:
        files.follow([folder])
        path = folder / "a.safetensors"
        thread = threading.Thread(target=train, args=(path, 6, 0.5))
        thread.start()
        assert files.changed({}) is not None
        assert _is_whole(path)
        thread.join()


def train(path: Path, parts: int, pause_s: float) -> None:
    data = tensors(parts * 100)
    size = len(data) // parts + 1
    with path.open("wb") as file:
        for start in range(0, len(data), size):
            file.write(data[start : start + size])
            file.flush()
            time.sleep(pause_s)


def tensors(nbytes: int) -> bytes:
    header = {"a": {"dtype": "U8", "shape": [nbytes], "data_offsets": [0, nbytes]}}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(nbytes)


def test_a_file_of_tensors_counts_when_its_last_byte_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    thread = threading.Thread(target=train, args=(path, 3, PAUSE_S))
    with WatchedFiles() as files:
        files.follow([tmp_path])
        thread.start()
        assert files.changed({}) is not None
        assert path.read_bytes() == tensors(300)
        thread.join()


def test_what_is_in_a_folder_comes_and_goes_with_it(tmp_path: Path) -> None:
    folder = tmp_path / "later" / "checkpoints"
    with WatchedFiles() as files:
        files.follow([folder])
        before = files.content()
        folder.mkdir(parents=True)
        (folder / "a.safetensors").write_bytes(tensors(8))
        (folder / "log.1").write_text("no model")
        now = files.changed(before)
    assert now is not None
    assert [*now] == [folder / "a.safetensors"]


@pytest.mark.usefixtures("watched")
def test_without_a_system_that_tells_changes_are_seen(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched_files, "POLL_S", 0.05)
    with WatchedFiles() as files:
        monkeypatch.setattr(files, "_observe", lambda: None)
        files.follow([file])
        content: Content = files.content()
        file.write_text('{"value": 1}')
        assert files.changed(content) is not None


def test_the_types_of_file_systems_that_do_not_tell_are_named(
    watched: WatchedFiles, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert watched.unseen() == {}
    monkeypatch.setattr(watched_files, "file_system", lambda _: "nfs4")
    assert watched.unseen() == {file: "nfs4"}


def test_files_say_whether_they_are_whole(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    Image.effect_noise((64, 64), 50).save(image)
    with zipfile.ZipFile(tmp_path / "a.bin", "w") as archive:
        archive.writestr("data.pkl", bytes(100))
    (tmp_path / "a.safetensors").write_bytes(tensors(100))
    (tmp_path / "a.json").write_text('{"a": 1}')
    for path in [*tmp_path.iterdir()]:
        assert _is_whole(path) is True, path
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert not _is_whole(path), path
    (tmp_path / "a.txt").write_text("a")
    assert _is_whole(tmp_path / "a.txt") is None


def test_an_end_is_heard_while_nothing_changes(watched: WatchedFiles) -> None:
    threading.Timer(0.05, watched.end).start()
    assert watched.changed(watched.content()) is None

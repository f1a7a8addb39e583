from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dw.engine.models.fingerprint import LARGE, Fingerprint, is_weights
from dw.errors import RetryRun, RunFailed
from dw.types import FileState

WEIGHTS = "model.safetensors"
ENDS = (".md", ".png", ".jpg", ".jpeg", ".gif", ".webp", ".avif", ".mp4", ".pdf", ".lock")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "unet"
    folder.mkdir()
    (folder / WEIGHTS).write_bytes(b"weights")
    (folder / "config.json").write_text('{"act": "silu"}')
    return folder


def rewrite(path: Path, content: bytes) -> None:
    """Other bytes of the same number in the same inode, with the times of before."""
    times = path.stat()
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def replaced(path: Path, content: bytes) -> None:
    times, other = path.stat(), path.with_name("other")
    other.write_bytes(content)
    os.utime(other, ns=(times.st_atime_ns, times.st_mtime_ns))
    other.replace(path)


def mapped(path: Path, content: bytes) -> None:
    import mmap

    times = path.stat()
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        memory[:] = content
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


WAYS = pytest.mark.parametrize("write", [rewrite, replaced, mapped])
Write = Callable[[Path, bytes], None]


class TestWhatIsTheSame:
    def test_nothing_changed(self, folder: Path) -> None:
        first, second = Fingerprint.of(folder), Fingerprint.of(folder)
        assert (first, hash(first), str(first)) == (second, hash(second), first.digest)
        assert len(first.digest) == 16

    def test_a_link_to_the_folder_and_a_linked_folder(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(folder)
        (tmp_path / "links").mkdir()
        for file in folder.iterdir():
            (tmp_path / "links" / file.name).symlink_to(file)
        links = [tmp_path / "link", tmp_path / "links"]
        assert [Fingerprint.of(each) for each in links] == [Fingerprint.of(folder)] * 2

    def test_a_config_that_was_touched(self, folder: Path) -> None:
        before = Fingerprint.of(folder)
        os.utime(folder / "config.json", ns=(5, 5))
        assert Fingerprint.of(folder) == before

    @pytest.mark.parametrize("name", [*(f"a{end}" for end in ENDS), ".gitattributes"])
    def test_what_no_loader_reads(self, folder: Path, name: str) -> None:
        before = Fingerprint.of(folder)
        (folder / name).write_bytes(b"x")
        (folder / ".cache").mkdir()
        (folder / ".cache" / "x.json").touch()
        assert Fingerprint.of(folder) == before

    def test_the_weights_beside_configs(self, folder: Path) -> None:
        one = folder.with_name("one.safetensors")
        one.write_bytes(b"1")
        before = Fingerprint.of(one, configs=folder)
        rewrite(folder / WEIGHTS, b"WEIGHTS")
        assert Fingerprint.of(one, configs=folder) == before
        assert before.changed_weights() is None


class TestWhatIsAnother:
    @WAYS
    def test_weights_of_the_same_size_and_times(self, folder: Path, write: Write) -> None:
        before = Fingerprint.of(folder)
        write(folder / WEIGHTS, b"WEIGHTS")
        assert Fingerprint.of(folder) != before

    @WAYS
    def test_weights_behind_links(self, folder: Path, tmp_path: Path, write: Write) -> None:
        snapshot, blob = tmp_path / "snapshots" / "1", tmp_path / "blobs" / ("0" * 64)
        blob.parent.mkdir()
        (folder / WEIGHTS).rename(blob)
        snapshot.mkdir(parents=True)
        (snapshot / WEIGHTS).symlink_to(blob)
        before = Fingerprint.of(snapshot)
        write(blob, b"WEIGHTS")  # its name is the hash of what it was
        assert Fingerprint.of(snapshot) != before

    def test_weights_written_through_a_hard_link(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "other.safetensors").hardlink_to(folder / WEIGHTS)
        before = Fingerprint.of(folder)
        rewrite(tmp_path / "other.safetensors", b"WEIGHTS")
        assert Fingerprint.of(folder) != before

    def test_a_link_that_leads_elsewhere(self, folder: Path, tmp_path: Path) -> None:
        link, copy = tmp_path / "link", tmp_path / "copy"
        shutil.copytree(folder, copy)
        link.symlink_to(folder)
        before = Fingerprint.of(link)
        link.unlink()
        link.symlink_to(copy)
        assert Fingerprint.of(link) != before

    def test_a_folder_renamed_into_its_place(self, folder: Path, tmp_path: Path) -> None:
        before, copy = Fingerprint.of(folder), tmp_path / "copy"
        shutil.copytree(folder, copy)
        folder.rename(tmp_path / "old")
        copy.rename(folder)
        assert Fingerprint.of(folder) != before

    @WAYS
    @pytest.mark.parametrize("name", ["config.json", "vocab.tiktoken", "model.py", "merges"])
    def test_a_small_file_of_any_name(self, folder: Path, name: str, write: Write) -> None:
        (folder / name).write_bytes(b"small")
        before = Fingerprint.of(folder)
        write(folder / name, b"SMALL")
        assert Fingerprint.of(folder) != before

    def test_a_file_in_a_folder_of_it(self, folder: Path) -> None:
        (folder / "qformer_tokenizer").mkdir()
        (vocab := folder / "qformer_tokenizer" / "vocab.txt").write_text("a")
        before = Fingerprint.of(folder)
        vocab.write_text("b")
        assert Fingerprint.of(folder) != before

    def test_a_file_more_or_one_that_was_renamed(self, folder: Path) -> None:
        prints = [Fingerprint.of(folder)]
        (folder / "vocab.txt").write_text("a")
        prints.append(Fingerprint.of(folder))
        (folder / "vocab.txt").rename(folder / "merges.txt")
        prints.append(Fingerprint.of(folder))
        assert len(set(prints)) == 3

    def test_several_sources_in_their_order(self, folder: Path, tmp_path: Path) -> None:
        (other := tmp_path / "other.gguf").write_bytes(b"x")
        orders = [(folder, other), (other, folder), (folder,), (other,)]
        assert len({Fingerprint.of(*sources) for sources in orders}) == 4

    def test_a_config_beside_one_file(self, folder: Path) -> None:
        before = Fingerprint.of(folder / WEIGHTS, configs=folder)
        assert before != Fingerprint.of(folder / WEIGHTS)
        (folder / "config.json").write_text('{"act": "gelu"}')
        assert Fingerprint.of(folder / WEIGHTS, configs=folder) != before


def test_a_large_file_is_told_by_its_stat(tmp_path: Path) -> None:
    with (tmp_path / "model.onnx").open("wb") as file:
        file.truncate(LARGE)
    assert not is_weights(FileState.of(tmp_path / "model.onnx"))
    with (tmp_path / "model.onnx").open("ab") as file:
        file.write(b"x")
    assert is_weights(FileState.of(tmp_path / "model.onnx"))


class TestReading:
    """A load, in which the file may change."""

    def fail(self, folder: Path, change: Callable[[], object]) -> str:
        with pytest.raises(RunFailed) as caught, Fingerprint.of(folder).reading():
            change()
        assert caught.value.hints == (RetryRun(),)
        return caught.value.message

    @WAYS
    def test_another_content_is_an_error_that_names_the_file(
        self, folder: Path, write: Write
    ) -> None:
        message = self.fail(folder, lambda: write(folder / WEIGHTS, b"WEIGHTS"))
        what = "replaced" if write is replaced else "changed"
        assert message == f"{str(folder / WEIGHTS)!r} was {what} while it was being read"

    def test_a_file_that_goes_or_comes(self, folder: Path) -> None:
        config, index = folder / "config.json", folder / "model.safetensors.index.json"
        came = self.fail(folder, index.touch)
        assert came == f"{str(index)!r} was added while it was being read"
        gone = self.fail(folder, config.unlink)
        assert gone == f"{str(config)!r} was removed while it was being read"

    def test_a_folder_that_goes(self, folder: Path) -> None:
        gone = self.fail(folder, lambda: shutil.rmtree(folder))
        assert gone.endswith("was removed while it was being read")

    def test_it_is_the_reason_for_what_the_reader_says(self, folder: Path) -> None:
        def read() -> None:
            (folder / WEIGHTS).write_bytes(b"half")
            raise ValueError("header too small")

        cut = self.fail(folder, read)
        assert cut == (
            f"{str(folder / WEIGHTS)!r} was cut from 7 to 4 bytes while it was being read"
        )

    def test_an_error_of_the_reader_stays_when_nothing_changed(self, folder: Path) -> None:
        with pytest.raises(ValueError, match="header"), Fingerprint.of(folder).reading():
            raise ValueError("header too small")

    def test_a_config_that_was_touched_is_no_change(self, folder: Path) -> None:
        with Fingerprint.of(folder).reading():
            os.utime(folder / "config.json", ns=(5, 5))

    def test_the_configs_of_one_file_count(self, folder: Path) -> None:
        print_ = Fingerprint.of(folder / WEIGHTS, configs=folder)
        with pytest.raises(RunFailed, match=r"config\.json"), print_.reading():
            (folder / "config.json").write_text("{}")

    def test_what_stands_for_no_file_never_changes(self) -> None:
        with Fingerprint("made").reading():
            pass


class TestChangedWeights:
    def test_only_weights_count(self, folder: Path) -> None:
        before = Fingerprint.of(folder)
        (folder / "config.json").write_text("{}")
        assert before.changed_weights() is None
        rewrite(folder / WEIGHTS, b"WEIGHTS")
        assert before.changed_weights() == f"{str(folder / WEIGHTS)!r} was changed"

    def test_they_say_what_happened(self, folder: Path) -> None:
        before, path = Fingerprint.of(folder), folder / WEIGHTS
        os.truncate(path, 2)
        assert before.changed_weights() == f"{str(path)!r} was cut from 7 to 2 bytes"
        replaced(path, b"WEIGHTS")
        assert before.changed_weights() == f"{str(path)!r} was replaced"
        path.unlink()
        assert before.changed_weights() == f"{str(path)!r} was removed"


def test_a_fingerprint_is_not_taken_in_the_tick_of_a_write(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second write in the same tick of the kernel's clock would leave no trace."""
    now = FileState.of(folder / WEIGHTS).status[4]
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    for age, waited in [(5_000_000, [0.015]), (20_000_000, []), (-1, [])]:
        waits.clear()
        monkeypatch.setattr("time.time_ns", lambda age=age: now + age)
        Fingerprint.of(folder / WEIGHTS)
        assert waits == waited

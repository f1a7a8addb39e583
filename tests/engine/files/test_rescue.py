"""What cannot be written is kept in another form, or elsewhere."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image, WebPImagePlugin

from dw.engine.files import outputs
from dw.engine.files.outputs import OutputWriter
from dw.engine.media import encoding, video
from dw.engine.media.audio import Audio
from dw.engine.media.video import Video
from dw.errors import DwError, OutOfResources, RunFailed, SetOutputDir
from dw.types import OutputFile
from dw.workflow.format.result import Result
from tests.engine.session import Session, workflow

NOISE = Image.fromarray(np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8))
TONE = Audio(np.linspace(-1, 1, 900, dtype=np.float32)[:, None], 8000)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def written(path: Path, value: Any, content_type: str) -> tuple[DwError, list[OutputFile]]:
    """The error of a write that fails, and the files that are there in its place."""
    writer = OutputWriter()
    writer.write("gen", path, value, Result(content_type=content_type), None)
    with pytest.raises(RunFailed) as caught:
        list(writer.drain())
    assert caught.value.where == "step 'gen', writing"
    return caught.value, writer.settle()


@pytest.mark.parametrize(
    ("value", "content_type", "suffix"),
    [
        ("words", "image/png", ".txt"),
        (NOISE, "audio/wav", ".png"),
        (NOISE, "text/plain", ".png"),
        ([NOISE, NOISE], "image/png", ".npz"),
        (Video([NOISE, NOISE], TONE, 12.0), "image/png", ".npz"),
        (TONE, "image/png", ".npz"),
        (np.zeros((2, 3, 4, 5, 6)), "video/mp4", ".npy"),
        (torch.ones(3), "image/png", ".npy"),
        (torch.ones(3, dtype=torch.bfloat16), "image/png", ".pt"),
        ({"a": torch.ones(3), "b": NOISE}, "application/json", ".pt"),
    ],
)
def test_a_value_that_a_file_cannot_hold_is_kept_in_its_own_form(
    folder: Path, value: Any, content_type: str, suffix: str
) -> None:
    error, [kept] = written(folder / "a.xyz", value, content_type)
    assert kept.path == str(folder / f"a{suffix}")
    assert error.message.endswith(f"; it is kept as {kept.path!r}")
    assert kept.nbytes == os.path.getsize(kept.path)
    assert os.listdir(folder) == [f"a{suffix}"]
    _require_same(value, Path(kept.path))


def _require_same(value: Any, path: Path) -> None:
    match path.suffix:
        case ".txt":
            assert path.read_text() == value
        case ".png":
            assert np.array_equal(np.asarray(Image.open(path)), np.asarray(value))
        case ".npy":
            assert np.array_equal(np.load(path), np.asarray(value))
        case ".pt":
            found = torch.load(path, weights_only=False)
            assert torch.equal(found["a"] if isinstance(found, dict) else found, torch.ones(3))
        case _:
            found = np.load(path)
            audio = value if isinstance(value, Audio) else getattr(value, "audio", None)
            if audio is not None:
                assert np.array_equal(found["samples"], TONE.samples)
                assert found["sample_rate"] == 8000
            if not isinstance(value, Audio):
                assert np.array_equal(found["frames"], np.stack([np.asarray(NOISE)] * 2))
                assert found["fps"] == (12 if isinstance(value, Video) else 0)


def test_a_value_that_has_no_form_is_told(folder: Path) -> None:
    error, kept = written(folder / "a.json", {"a": lambda: 0}, "application/json")
    assert error.message.startswith("application/json cannot hold")
    assert error.message.endswith("; it could not be kept elsewhere")
    assert kept == []
    assert os.listdir(folder) == []


def refused(*_: Any, **__: Any) -> Any:
    raise ValueError("the encoder has no mood for this")


@pytest.mark.parametrize(
    ("content_type", "place", "value", "name"),
    [
        ("image/webp", (WebPImagePlugin, "_save"), NOISE, "a.png"),
        ("video/mp4", (video, "_padded"), [NOISE], "a.npz"),
        ("image/gif", (encoding, "encode_gif"), [NOISE], "a.npz"),
        ("audio/wav", (soundfile.SoundFile, "write"), TONE, "a.npz"),
        ("image/png", (encoding, "encode_image"), NOISE, "a.png"),
    ],
)
def test_a_result_whose_encoder_fails_is_kept(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    content_type: str,
    place: tuple[Any, str],
    value: Any,
    name: str,
) -> None:
    monkeypatch.setattr(*place, refused)
    if place[1] == "_save":
        monkeypatch.setitem(Image.SAVE, "WEBP", refused)
    if content_type == "image/png":
        name = "b.png"
    error, [kept] = written(folder / f"{name[0]}.xyz", value, content_type)
    assert "the encoder has no mood for this" in error.message
    assert error.exit_code == 1
    assert Path(kept.path) == folder / name


@pytest.mark.parametrize(
    ("size", "content_type", "message"),
    [
        ((16_384, 1), "image/webp", "image/webp holds at most 16383 pixels a side, got 16384x1"),
        ((65_501, 1), "image/jpeg", "image/jpeg holds at most 65500 pixels a side, got 65501x1"),
        ((1, 65_536), "image/gif", "image/gif holds at most 65535 pixels a side, got 1x65536"),
        ((16_386, 2), "video/mp4", "video/mp4 holds at most 16384 pixels a side, got 16386x2"),
    ],
)
def test_what_is_too_large_for_its_format_is_kept(
    folder: Path, size: tuple[int, int], content_type: str, message: str
) -> None:
    error, [kept] = written(folder / "a.xyz", Image.new("RGB", size), content_type)
    assert error.message.startswith(message)
    with Image.open(kept.path) as image:
        assert (image.format, image.size) == ("PNG", size)


def test_a_file_that_is_not_decoded_is_kept_in_another_form(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def junk(*_: Any) -> Any:
        return b"no image at all", encoding.MediaInfo(64, 64, 1)

    monkeypatch.setattr(encoding, "encode_image", junk)
    error, [kept] = written(folder / "a.jpg", NOISE, "image/jpeg")
    assert "'a.jpg'" not in error.message
    assert "a.jpg' was not written correctly: the file cannot be read back" in error.message
    assert os.listdir(folder) == ["a.png"]
    assert kept.path == str(folder / "a.png")


class TestFullDisk:
    @pytest.fixture
    def full(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The run's folder, on a disk without room."""
        write, tried = outputs.write_bytes, set()

        def write_elsewhere(path: Path, data: bytes) -> None:
            assert path not in tried, "what failed is not tried again"
            tried.add(path)
            if path.parent == folder:
                path.touch()
                raise OSError(errno.ENOSPC, "no space")
            write(path, data)

        monkeypatch.setattr(outputs, "write_bytes", write_elsewhere)
        return folder

    @pytest.mark.parametrize("content_type", ["image/jpeg", "image/png", "image/gif", "video/mp4"])
    def test_has_the_file_elsewhere(self, full: Path, temporary: Path, content_type: str) -> None:
        error, [kept] = written(full / "a.file", NOISE, content_type)
        assert isinstance(error, OutOfResources)
        assert error.message.startswith(f"no space left for '{full}/a.file'; it is kept as ")
        [place] = temporary.iterdir()
        assert kept.path == str(place / "a.file")
        assert kept.content_type == content_type
        assert os.listdir(full) == []

    def test_has_what_was_not_encoded_elsewhere_in_its_own_form(
        self, full: Path, temporary: Path
    ) -> None:
        error, [kept] = written(full / "a.png", "words", "image/png")
        assert not isinstance(error, OutOfResources)
        [place] = temporary.iterdir()
        assert kept.path == str(place / "a.txt")
        assert Path(kept.path).read_text() == "words"

    def test_of_both_folders_is_told(
        self, full: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def nothing(path: Path, data: bytes) -> None:
            raise OSError(errno.ENOSPC, "no space")

        monkeypatch.setattr(outputs, "write_bytes", nothing)
        error, kept = written(full / "a.png", NOISE, "image/png")
        assert error.message == f"no space left for '{full}/a.png'; it could not be kept elsewhere"
        assert kept == []
        assert os.listdir(temporary) == []

    def test_is_in_the_record_of_the_run(self, session: Session, cat: Path) -> None:
        def full(path: Path, data: bytes) -> None:
            if not path.is_relative_to(tempfile.gettempdir()):
                raise OSError(errno.ENOSPC, "no space")
            path.write_bytes(data)

        step = {
            "name": "gen",
            "task": {"command": "crop_square", "arguments": {"image": "cat.png"}},
            "result": {"content_type": "image/png"},
        }
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(outputs, "write_bytes", full)
            error = session.fail(workflow(step))
        [path] = (session.folder / "outputs").glob("demo/*/run.json")
        record = json.loads(path.read_text())
        [kept] = record["outputs"]
        assert record["state"] == "failed"
        assert record["cause"] == str(error)
        assert kept["path"] in error.message
        with Image.open(kept["path"]) as image:
            assert image.size == (64, 64)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root mounts a disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_full_has_the_file_elsewhere(small_disk: Path, temporary: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (256, 256, 3), np.uint8)
    large = Image.fromarray(noise)
    error, [kept] = written(small_disk / "a.bmp", large, "image/bmp")
    assert isinstance(error, OutOfResources)
    assert Path(kept.path).parent.parent == temporary
    with Image.open(kept.path) as image:
        assert np.array_equal(np.asarray(image), np.asarray(large))
    assert os.listdir(small_disk) == []


def test_a_limit_on_the_size_of_files_has_a_smaller_form(folder: Path) -> None:
    """An image of one colour is 196 kB as BMP and less than 1 kB as PNG."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        error, [kept] = written(folder / "a.bmp", Image.new("RGB", (256, 256)), "image/bmp")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.message.startswith(f"cannot write '{folder}/a.bmp': File too large")
    assert SetOutputDir() in error.hints
    assert kept.path == str(folder / "a.png")


def test_a_name_of_255_bytes_is_written(folder: Path) -> None:
    path = folder / f"{'x' * 251}.png"
    writer = OutputWriter()
    writer.write("gen", path, NOISE, Result(content_type="image/png"), None)
    [(_, output)] = writer.drain()
    assert output.path == str(path)

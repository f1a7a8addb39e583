from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dw.engine.files import outputs
from dw.engine.files.file_names import file_names, fitted_name
from dw.engine.files.outputs import OutputWriter, new_run_folder, save, spilled, write_failure
from dw.engine.media.audio import Audio
from dw.engine.media.encoding import Encoded, encode
from dw.engine.media.media_info import MediaInfo
from dw.engine.media.video import FPS, Reel, Video
from dw.errors import OutOfResources, RunFailed, SetOutputDir
from dw.types import OutputFile
from dw.workflow.format.result import Result

PNG = Result(content_type="image/png")
IMAGE = Image.linear_gradient("L")
FRAMES = [
    Image.radial_gradient("L").resize((64, 64)).convert("RGB").rotate(10 * number)
    for number in range(5)
]


def named(result: Any, spec: Result) -> list[str]:
    return [name for name, _ in file_names(result, spec, "demo-gen.0", 2)]


def test_names_hold_workflow_step_result_and_artifact() -> None:
    assert named([IMAGE, IMAGE], PNG) == ["demo-gen.0-2.0.png", "demo-gen.0-2.1.png"]


def test_a_base_name_goes_in_front() -> None:
    spec = Result(content_type="image/jpeg", file_base_name="holiday-")
    assert named(IMAGE, spec) == ["holiday-demo-gen.0-2.0.jpg"]


def test_a_mapping_is_written_member_by_member() -> None:
    assert named({"mask": IMAGE}, PNG) == ["demo-gen.0-2.0-mask.png"]


def test_a_member_of_any_name_stays_in_the_folder_and_has_a_file_of_its_own() -> None:
    members = dict.fromkeys(["../a/b", ".._a_b", 3, "x" * 500], IMAGE)
    assert named(members, PNG) == [
        "demo-gen.0-2.0-.._a_b.png",
        "demo-gen.0-2.0-.._a_b_2.png",
        "demo-gen.0-2.0-3.png",
        f"demo-gen.0-2.0-{'x' * 80}.png",
    ]


def test_a_member_is_cut_in_bytes() -> None:
    assert named({"猫" * 80: IMAGE}, PNG) == [f"demo-gen.0-2.0-{'猫' * 26}.png"]
    assert named({"a\ud800": IMAGE}, PNG) == ["demo-gen.0-2.0-a?.png".replace("?", "_")]


def test_a_name_that_would_be_too_long_loses_the_end_of_its_base() -> None:
    spec = Result(content_type="image/png", file_base_name="ä" * 150)
    [name] = named(IMAGE, spec)
    assert name == f"{'ä' * 123}-2.0.png"
    assert len(name.encode()) == 254  # one more would be half of a character
    assert fitted_name("x" * 300, "-1.png") == f"{'x' * 249}-1.png"


def test_nothing_is_written_for_none() -> None:
    assert named([None, IMAGE], PNG) == ["demo-gen.0-2.1.png"]


def test_a_written_file_is_whole_and_known_by_its_hash(tmp_path: Path) -> None:
    [(step, output)] = _write(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    assert (step, output.nbytes) == ("gen", len(data))
    assert output.sha256 == hashlib.sha256(data).hexdigest()
    assert (output.width, output.height, output.frames) == (256, 256, 1)
    assert os.listdir(tmp_path) == ["a.png"]


def test_files_are_told_in_the_order_in_which_they_were_given(tmp_path: Path) -> None:
    writer = OutputWriter()
    for name in "abc":
        writer.write(name, tmp_path / f"{name}.png", IMAGE, PNG, None)
    assert [step for step, _ in writer.drain()] == ["a", "b", "c"]


class TestWriter:
    """Its thread, which waits before the first file until it is released."""

    @pytest.fixture
    def release(self, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
        release, write = threading.Event(), outputs.write_bytes
        self.threads: list[str] = []

        def write_bytes(path: Path, data: bytes) -> None:
            self.threads.append(threading.current_thread().name)
            assert release.wait(30)
            write(path, data)

        monkeypatch.setattr(outputs, "write_bytes", write_bytes)
        return release

    def test_tells_what_is_done_and_waits_for_nothing(
        self, release: threading.Event, tmp_path: Path
    ) -> None:
        writer = OutputWriter()
        assert list(writer.done()) == []
        for name in "ab":
            writer.write(name, tmp_path / f"{name}.png", IMAGE, PNG, None)
        assert list(writer.done()) == []
        release.set()
        told: list[Any] = []
        while len(told) < 2:
            told += writer.done()
        assert [(step, Path(output.path).name) for step, output in told] == [
            ("a", "a.png"),
            ("b", "b.png"),
        ]
        assert list(writer.drain()) == []

    def test_writes_one_file_at_a_time(self, release: threading.Event, tmp_path: Path) -> None:
        writer = OutputWriter()
        for name in "abc":
            writer.write(name, tmp_path / f"{name}.png", IMAGE, PNG, None)
        release.set()
        list(writer.drain())
        assert self.threads == ["writer_0"] * 3


def test_a_file_holds_what_made_it(tmp_path: Path) -> None:
    writer = OutputWriter()
    writer.write("gen", tmp_path / "a.png", IMAGE, PNG, {"prompt": "a cat"})
    list(writer.drain())
    with Image.open(tmp_path / "a.png") as image:
        assert json.loads(image.info["parameters"]) == {"prompt": "a cat"}


def test_a_file_is_told_with_its_extent(tmp_path: Path) -> None:
    data = encode(Audio(np.zeros((4000, 2), np.float32), 8000), Result(content_type="audio/wav"))
    path, digest = tmp_path / "a.wav", hashlib.sha256(data.data).hexdigest()
    assert save(path, data, "audio/wav") == OutputFile(
        str(path), "audio/wav", len(data.data), digest, seconds=0.5, sample_rate=8000
    )


def test_all_bytes_are_on_their_way_when_the_disk_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda number: sizes.append(os.fstat(number).st_size))
    save(tmp_path / "a.txt", Encoded(b"words", MediaInfo()), "text/plain")
    assert sizes == [5]


@pytest.mark.parametrize(
    ("number", "kind", "message", "hints"),
    [
        (errno.ENOSPC, OutOfResources, "no space left for 'a.png'", ()),
        (errno.EDQUOT, OutOfResources, "no space left for 'a.png'", ()),
        (
            errno.EFBIG,
            OutOfResources,
            "cannot write 'a.png': File too large",
            ("ulimit -f   shows the largest file that you may write, in blocks",),
        ),
        (errno.EACCES, RunFailed, "cannot write 'a.png': Permission denied", ()),
    ],
)
def test_what_the_system_refuses_is_told_with_its_cure(
    number: int, kind: type[RunFailed], message: str, hints: tuple[str, ...]
) -> None:
    failure = write_failure(OSError(number, os.strerror(number)), Path("a.png"))
    assert (type(failure), failure.message) == (kind, message)
    assert failure.hints == (*hints, SetOutputDir())


def test_a_full_disk_is_a_lack_of_resources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        path.touch()
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(outputs, "write_bytes", full)
    with pytest.raises(OutOfResources, match="no space left"):
        _write(tmp_path / "a.png")
    assert os.listdir(tmp_path) == []


def test_a_file_that_reads_back_otherwise_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "write_bytes", lambda path, data: path.write_bytes(data[:-9]))
    size = len(encode(IMAGE, PNG).data)
    message = f"a.png' was not written correctly: of {size} bytes written, {size - 9} were read"
    with pytest.raises(RunFailed, match=re.escape(message)):
        _write(tmp_path / "a.png")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=re.escape(f"cannot write '{tmp_path}/gone/a.png'")):
        _write(tmp_path / "gone" / "a.png")


def test_the_writer_goes_on_after_a_failure(tmp_path: Path) -> None:
    writer = OutputWriter()
    writer.write("gen", tmp_path / "a.png", "words", PNG, None)
    writer.write("gen", tmp_path / "b.png", IMAGE, PNG, None)
    writer.write("gen", tmp_path / "c.png", "words", PNG, None)
    assert [Path(output.path).name for output in writer.settle()] == ["b.png", "a.txt", "c.txt"]
    assert list(writer.drain()) == []
    assert writer.settle() == []


def test_a_file_that_fails_names_its_step(tmp_path: Path) -> None:
    writer = OutputWriter()
    writer.write("first", tmp_path / "a.png", IMAGE, PNG, None)
    writer.write("gen", tmp_path / "b.png", "words", PNG, None)
    with pytest.raises(RunFailed) as caught:
        list(writer.drain())
    assert caught.value.where == "step 'gen', writing"
    assert caught.value.hints == ()


def test_the_first_run_makes_the_folders(tmp_path: Path) -> None:
    assert new_run_folder(tmp_path / "new", "demo") == tmp_path / "new" / "demo" / "0001"
    assert (tmp_path / "new" / "demo" / "0001").is_dir()


def test_run_folders_are_numbered_and_never_shared(tmp_path: Path) -> None:
    (tmp_path / "demo" / "0041").mkdir(parents=True)
    (tmp_path / "demo" / "notes").mkdir()
    assert [new_run_folder(tmp_path, "demo").name for _ in range(2)] == ["0042", "0043"]


def test_a_number_that_was_drawn_is_the_folder_s_and_one_that_is_taken_is_drawn_anew(
    tmp_path: Path,
) -> None:
    assert new_run_folder(tmp_path, "demo", 7).name == "0007"
    assert new_run_folder(tmp_path, "demo", 7).name == "0008"


def test_a_file_that_is_no_image_is_not_kept(tmp_path: Path) -> None:
    """Its bytes are what was encoded, but they cannot be decoded."""
    with pytest.raises(RunFailed, match=r"a\.png' was not written correctly: the file cannot be"):
        save(tmp_path / "a.png", Encoded(b"no image", MediaInfo(4, 4, 1)), "image/png")
    assert os.listdir(tmp_path) == []


def test_a_file_that_is_not_whole_is_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary: list[Path] = []
    write = outputs.write_bytes
    monkeypatch.setattr(
        outputs, "write_bytes", lambda path, data: (temporary.append(path), write(path, data))
    )
    save(tmp_path / "a.txt", Encoded(b"new", MediaInfo()), "text/plain")
    [path] = temporary
    assert path.parent == tmp_path
    assert re.fullmatch(r"\.[0-9a-f]{16}\.part", path.name)


def test_a_file_that_exists_is_replaced_whole(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(RunFailed):
        save(tmp_path / "a.txt", Encoded(b"\xff", MediaInfo()), "text/plain")
    assert (tmp_path / "a.txt").read_text() == "old"
    save(tmp_path / "a.txt", Encoded(b"new", MediaInfo()), "text/plain")
    assert (tmp_path / "a.txt").read_text() == "new"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("a file")
    with pytest.raises(RunFailed, match=r"cannot write .*outputs/demo'"):
        new_run_folder(tmp_path / "outputs", "demo")


class TestSpilledFrames:
    """Those of a video that is kept in a file until the whole is written."""

    @pytest.mark.parametrize(("fps", "seconds"), [(10.0, 0.5), (None, 5 / FPS)])
    def test_stay_as_they_were(self, tmp_path: Path, fps: float | None, seconds: float) -> None:
        kept, output = spilled(Video(FRAMES, fps=fps), tmp_path / "a.mp4")
        assert isinstance(kept.frames, Reel)
        assert (output.path, output.content_type) == (str(tmp_path / "a.mp4"), "video/mp4")
        assert (output.frames, output.seconds, kept.fps) == (5, pytest.approx(seconds), fps)
        for frame, was in zip(kept, FRAMES, strict=True):
            assert np.abs(np.subtract(frame, was, dtype=float)).mean() < 1  # of 255

    @pytest.mark.parametrize("rate", [8000, None])
    def test_have_their_audio_beside_them(self, tmp_path: Path, rate: int | None) -> None:
        audio = Audio(np.zeros((4000, 1), np.float32), rate)
        kept, output = spilled(Video(FRAMES, audio, 10.0), tmp_path / "a.mp4")
        assert kept.audio is audio
        assert (output.sample_rate is None) is (rate is None)

    def test_that_no_file_can_hold_are_told(self, tmp_path: Path) -> None:
        for frames, path in ((FRAMES, tmp_path / "gone" / "a.mp4"), ([], tmp_path / "a.mp4")):
            with pytest.raises(RunFailed) as caught:
                spilled(Video(frames), path)
            assert caught.value.where == "writing a segment"


def _write(path: Path) -> list[Any]:
    writer = OutputWriter()
    writer.write("gen", path, IMAGE, PNG, None)
    return list(writer.drain())

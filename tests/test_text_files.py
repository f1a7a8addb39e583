from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from dw import text_files
from dw.console.assignment import Assignment
from dw.errors import DwError
from dw.repl.script import read as read_script
from dw.settings import Settings, config_file, load_settings
from dw.text_files import NotUtf8, decoded, read_text
from dw.workflow import load_document

TEXT = 'id = "w"\ncafé = "Ā"\n'


@pytest.mark.parametrize("text", ["", "plain", TEXT, "日本語\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_utf8_is_read_with_and_without_a_mark(text: str, mark: bytes) -> None:
    assert decoded(mark + text.encode()) == text


def test_a_device_is_not_read_to_the_end_of_memory(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/zero"), tmp_path / "pipe"):
        with pytest.raises(OSError, match="not a regular file"):
            read_text(path)
        with pytest.raises(DwError, match=f"cannot read {path}: not a regular file"):
            Assignment("prompt", str(path), "file").value()
    with pytest.raises(DwError, match=f"cannot read {tmp_path}: not a file"):
        Assignment("prompt", str(tmp_path), "json-file").value()


def test_a_file_is_read_to_a_limit_whatever_its_size_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_files, "LARGEST", 2**20)
    (tmp_path / "text").write_bytes(b"x" * 2**20)
    assert len(read_text(tmp_path / "text")) == 2**20
    (tmp_path / "text").write_bytes(b"x" * (2**20 + 1))
    with pytest.raises(DwError, match="larger than 1 MB"):
        Assignment("prompt", str(tmp_path / "text"), "file").value()


def test_a_script_may_come_through_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=("help\n",))
    writer.start()
    assert read_script(str(tmp_path / "pipe")).text == "help\n"
    writer.join()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_is_named_with_and_without_a_mark(encoding: str) -> None:
    with pytest.raises(NotUtf8, match="UTF-16 text; save it as UTF-8"):
        decoded(TEXT.encode(encoding))


def test_utf32_is_not_taken_for_utf16() -> None:
    with pytest.raises(NotUtf8, match="UTF-32 text"):
        decoded(TEXT.encode("utf-32"))


@pytest.mark.parametrize(
    ("data", "place", "message"),
    [
        (b"it\x92s", (1, 3), "byte 0x92 at offset 2, which is '\u2019' in Windows-1252"),
        ("é\nüß".encode() + b"\xff", (2, 3), "byte 0xff at offset 7, which is 'ÿ' in Windows-1252"),
        (b"\xef\xbb\xbfa\x81", (1, 2), "byte 0x81 at offset 4; "),
        (b"abc\xe2\x80", (1, 4), "byte 0xe2 at offset 3"),
        (b"ab\x00c", (1, 3), "byte 0x00 at offset 2; "),
    ],
    ids=["cp1252", "after other lines", "after a mark", "cut short", "a NUL"],
)
def test_the_first_wrong_byte_is_told(data: bytes, place: tuple[int, int], message: str) -> None:
    with pytest.raises(NotUtf8) as refusal:
        decoded(data)
    assert (refusal.value.line, refusal.value.column) == place
    assert message in str(refusal.value)


def workflow(path: Path) -> object:
    return load_document(path)


def argument(path: Path) -> object:
    return Assignment.parse(f"prompt=@{path}").value()  # type: ignore[union-attr]


def json_argument(path: Path) -> object:
    return Assignment.parse(f"sizes:=@{path}").value()  # type: ignore[union-attr]


def script(path: Path) -> object:
    return read_script(str(path))


def settings(path: Path) -> Settings:
    config_file().parent.mkdir(parents=True, exist_ok=True)
    config_file().write_bytes(path.read_bytes())
    return load_settings()


@pytest.mark.parametrize("reader", [workflow, argument, json_argument, script, settings])
@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"\n [\x92]", ":2:3: not UTF-8 text: byte 0x92 at offset 3"),
        ("[1, 2]".encode("utf-16"), ":1:1: UTF-16 text"),
    ],
)
def test_every_reader_tells_the_place(reader, data, told, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(DwError) as refusal:
        reader(path)
    assert told in str(refusal.value)


def test_a_mark_is_no_part_of_an_argument_and_of_the_settings(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = tmp_path / "file"
    path.write_bytes(b"\xef\xbb\xbftimeout = 5\n")
    assert argument(path) == "timeout = 5"
    assert read_text(path) == "timeout = 5\n"
    assert settings(path).timeout == 5

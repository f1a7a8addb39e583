"""The config file: what is read of it, and what is left of it when a setting is written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from dw import settings
from dw.errors import DwError, UsageError
from dw.settings import Settings, load_settings, save_setting

WRITTEN = """\
# The settings of the workshop.

grace = 10  # the disk is slow
output_dir = 'C:\\results'  # a literal string

# Ada wants a longer one.
timeout = 60.0
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "dw" / "config.toml"
    path.parent.mkdir()
    monkeypatch.setattr(settings, "config_file", lambda: path)
    for name in Settings.names():
        monkeypatch.delenv(f"DW_{name.upper()}", raising=False)
    return path


def test_comments_and_order_stay(file: Path) -> None:
    file.write_text(WRITTEN)
    save_setting("grace", 5.0)
    assert file.read_text() == WRITTEN.replace("grace = 10 ", "grace = 5.0 ")
    assert load_settings() == Settings(grace=5.0, output_dir="C:\\results", timeout=60.0)


def test_a_new_setting_comes_last(file: Path) -> None:
    file.write_text(WRITTEN)
    save_setting("device", 'a "b"')
    assert file.read_text() == WRITTEN + 'device = "a \\"b\\""\n'


def test_a_new_setting_comes_before_the_tables_of_others(file: Path) -> None:
    tables = "\n[editor]  # of another program\ntabs = 4\n\n[[hosts]]\nname = 'a'\n"
    file.write_text(WRITTEN + tables)
    save_setting("trust", True)
    assert file.read_text() == WRITTEN + "trust = true\n" + tables


def test_a_setting_that_is_put_back_to_its_default_is_written(file: Path) -> None:
    file.write_text(WRITTEN)
    save_setting("timeout", Settings().timeout)
    assert file.read_text() == WRITTEN.replace("timeout = 60.0", "timeout = 300.0")


def test_a_file_that_is_not_there_is_made(file: Path) -> None:
    file.parent.rmdir()
    save_setting("grace", 5.0)
    assert file.read_text() == "grace = 5.0\n"


@pytest.mark.parametrize("data", [b"grace = # nothing\n", b"grace = 5\ngrace = 6\n", b"# \xff\n"])
def test_a_file_that_is_not_toml_is_named_and_left_as_it_is(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    with pytest.raises(UsageError, match=r"not valid TOML|not UTF-8") as caught:
        save_setting("grace", 5.0)
    assert str(caught.value.where).startswith(str(file))
    assert file.read_bytes() == data
    assert os.listdir(file.parent) == ["config.toml"]


def test_an_unknown_setting_is_not_written(file: Path) -> None:
    file.write_text(WRITTEN)
    with pytest.raises(UsageError, match="did you mean 'grace'"):
        save_setting("grcae", 5.0)
    assert file.read_text() == WRITTEN


def test_the_mode_of_the_file_stays(file: Path) -> None:
    file.write_text(WRITTEN)
    file.chmod(0o640)
    save_setting("grace", 5.0)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_link_stays_one(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "dotfiles.toml"
    target.write_text(WRITTEN)
    file.symlink_to(target)
    save_setting("grace", 5.0)
    assert file.is_symlink()
    assert "grace = 5.0 " in target.read_text()


def test_a_write_that_fails_leaves_the_file_as_it_is(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    file.write_text(WRITTEN)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DwError, match=f"cannot write {file}: No space left"):
        save_setting("grace", 5.0)
    assert file.read_text() == WRITTEN


def test_a_file_that_cannot_be_read_is_named(file: Path) -> None:
    file.mkdir()
    with pytest.raises(UsageError, match="cannot be read: ") as failed:
        load_settings()
    assert failed.value.where == str(file)


@pytest.mark.parametrize(
    ("text", "value"),
    [("ON", "on"), ("false", "off"), ("auto", "auto"), ("2", "2"), ("0.50", "0.5")],
)
def test_previews_are_a_word_or_seconds(file: Path, text: str, value: str) -> None:
    assert Settings().changed("previews", text).previews == value
    file.write_text(f"previews = {text}" if text in ("2", "false") else f"previews = '{text}'")
    assert load_settings().previews == value


@pytest.mark.parametrize("text", ["0", "-1", "nan", "of", ""])
def test_previews_of_another_kind_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="auto, on, off or a number of seconds above 0"):
        Settings().changed("previews", text)

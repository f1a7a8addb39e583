"""`dw serve` before it serves: a mistake is one sentence and an exit code."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from dw.serve import main


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "a-file").write_text("")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--workflows nowhere", "folder 'nowhere' does not exist"),
        ("--workflows empty", "no workflows in 'empty'"),
        ("--workflows a-file", "'a-file' is not a folder"),
        ("--key-file nowhere", "cannot read the keys in 'nowhere': no such file or directory"),
        ("--key-file empty", "cannot read the keys in 'empty': is a directory"),
        ("--key-file binary", "cannot read the keys in 'binary': not UTF-8"),
        ("--key-file a-file", "there is no key in 'a-file'"),
        ("--host 0.0.0.0", "others can reach '0.0.0.0', and there is no key"),
        ("--state a-file --port 0", "cannot keep jobs in 'a-file': file exists"),
        ("--state a-file/x --port 0", "cannot keep jobs in 'a-file/x': not a directory"),
        ("--trust --allow-inline", "--trust and --allow-inline exclude each other: "),
    ],
)
def test_what_cannot_be_served_is_told_in_one_sentence(
    capsys: pytest.CaptureFixture[str], words: str, told: str
) -> None:
    assert main(words.split()) == 2
    first, *hints = capsys.readouterr().err.splitlines()
    assert first.startswith(f"error: {told}")
    assert all(hint.startswith("  ") for hint in hints)


def test_a_port_that_is_taken_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["--port", str(port)]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"error: cannot listen on 127.0.0.1:{port}: address already in use",
        "  --port N   another one; 0: a free one",
    ]


def test_an_address_of_another_machine_is_told(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    (folder / "keys").write_text("sk-one")
    assert main(["--host", "192.0.2.1", "--key-file", "keys"]) == 2
    told = "error: cannot listen on 192.0.2.1:8000: cannot assign requested address\n"
    assert capsys.readouterr().err == told


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--prot 3", "unrecognized arguments: --prot 3 (did you mean '--port'?)"),
        ("--port 65536", "a port is a number from 0 to 65535, got '65536'"),
        ("--port x", "a port is a number from 0 to 65535, got 'x'"),
        ("--grace x", "--grace must be a number of seconds above 0, got 'x'"),
        ("--max-body 0", "--max-body must be a number above 0, got '0'"),
        ("extra", "unrecognized arguments: extra"),
    ],
)
def test_a_wrong_option_is_usage(capsys: pytest.CaptureFixture[str], words: str, told: str) -> None:
    with pytest.raises(SystemExit) as left:
        main(words.split())
    assert left.value.code == 2
    assert capsys.readouterr().err.endswith(f"{told}\n")

"""Offload folders: one for each module that is hooked, gone with it or with its process."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

from dw.engine.models.offload_folder import PREFIX, is_running, own_folder


@pytest.fixture
def ended() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def left(parent: Path, host: str, pid: object) -> Path:
    folder = parent / f"{PREFIX}-{host}-{pid}-abc"
    folder.mkdir(parents=True)
    (folder / "group.safetensors").write_bytes(b"weights")
    return folder


def test_each_time_there_is_a_new_one(tmp_path: Path) -> None:
    module = nn.Linear(1, 1)
    parent = tmp_path / "not" / "there"
    first, second = own_folder(parent, module), own_folder(parent, module)
    assert first != second
    assert first.parent == second.parent == parent
    assert first.is_dir()
    assert list(first.iterdir()) == []
    assert first.name.startswith(f"{PREFIX}-{socket.gethostname()}-{os.getpid()}-")


def test_it_goes_with_its_module(tmp_path: Path) -> None:
    module, other = nn.Linear(1, 1), nn.Linear(1, 1)
    own_folder(tmp_path, module).joinpath("file").write_bytes(b"x")
    kept = own_folder(tmp_path, other)
    del module
    gc.collect()
    assert list(tmp_path.iterdir()) == [kept]


def test_it_goes_with_the_process(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from torch import nn\n"
        "from dw.engine.models.offload_folder import own_folder\n"
        "module = nn.Linear(1, 1); print(own_folder(Path(sys.argv[1]), module).is_dir())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"
    assert list(tmp_path.iterdir()) == []


def test_those_of_killed_processes_are_removed(tmp_path: Path, ended: int) -> None:
    host = socket.gethostname()
    gone = left(tmp_path, host, ended)
    kept = [
        left(tmp_path, host, os.getppid()),
        left(tmp_path, f"other-{host}", ended),  # its processes cannot be seen from here
        left(tmp_path, host, "x"),
    ]
    (tmp_path / "mine").mkdir()
    own = own_folder(tmp_path, module := nn.Linear(1, 1))
    assert not gone.exists()
    assert set(tmp_path.iterdir()) == {*kept, own, tmp_path / "mine"}
    del module


def test_a_process_of_another_user_runs(ended: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_running(os.getpid())
    assert not is_running(ended)

    def refused(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refused)
    assert is_running(1)

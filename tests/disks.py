"""Disks: small ones for one test, full or read-only. Only root can mount them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """`folder` is on a disk without space, but for names of files."""
    with _disk(folder):
        with (folder / "filling").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        yield


@contextmanager
def read_only_disk(folder: Path) -> Iterator[None]:
    with _disk(folder):
        _mount("-o", "remount,ro", str(folder))
        yield


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    if not _mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)):
        pytest.skip("no disk can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0

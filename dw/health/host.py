"""The host: Python and the packages, folders and their disks, memory, variables, ports."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil
from packaging.requirements import InvalidRequirement, Requirement

import dw
from dw.health.finding import Finding, State
from dw.sizes import size_in_words

TESTED = {
    "torch": "2.13.0",
    "diffusers": "0.42.1",
    "transformers": "5.23.0",
    "accelerate": "1.15.0",
}
"""The versions that dw's own tests ran with."""

LEAST_DISK = 10**8
LITTLE_DISK = 5 * 10**9
LITTLE_MEMORY = 2 * 10**9
LITTLE_SHARED_MEMORY = 10**8
"""Bytes."""
MOST_PORTS = 65535

_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def build() -> str:
    """The revision and the time that an image of a container was built from; empty elsewhere."""
    return ", ".join(filter(None, map(os.environ.get, ("DW_BUILD_REVISION", "DW_BUILD_CREATED"))))


def version_in_words() -> str:
    """dw's version, with its build where there is one."""
    return ", built from ".join(filter(None, (dw.__version__, build())))


def check_versions() -> Iterator[Finding]:
    """Python, dw's build, and each package against the range that dw needs and the version that it
    was tested with."""
    yield Finding("python", "ok", f"{platform.python_version()}, {sys.executable}")
    yield Finding("dw", "ok", version_in_words())
    wrong = list(_wrong_packages())
    yield from wrong
    if not wrong:
        others = {
            name: version
            for name, version in TESTED.items()
            if importlib.metadata.version(name).partition("+")[0] != version
        }
        if others:
            tested = ", ".join(f"{name} {version}" for name, version in others.items())
            here = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in others)
            yield Finding("packages", "ok", f"{here} fit, and were not tested: {tested} were")
        else:
            versions = ", ".join(f"{name} {version}" for name, version in TESTED.items())
            yield Finding("packages", "ok", f"as tested: {versions}")


def _wrong_packages() -> Iterator[Finding]:
    try:
        needs = importlib.metadata.requires("dw") or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding("packages", "warning", "dw is not installed, so its needs are unknown")
        return
    for text in needs:
        try:
            need = Requirement(text)
        except InvalidRequirement:
            continue
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        wanted = f"{need.name}{need.specifier}"
        remedy = f"pip install '{wanted}'"
        try:
            version = importlib.metadata.version(need.name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(need.name, "failed", f"not installed; {wanted} is needed", remedy)
            continue
        if not need.specifier.contains(version, prereleases=True):
            yield Finding(
                need.name, "failed", f"{version} is installed, {wanted} is needed", remedy
            )


def check_folder(name: str, folder: Path, remedy: str) -> Finding:
    """Whether files can be written to a folder, or to the place where it will be made."""
    there = next(each for each in (folder, *folder.absolute().parents) if os.path.lexists(each))
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"dw" * 4096)
            file.flush()
            os.fsync(file.fileno())
        free = shutil.disk_usage(there).free
    except OSError as error:
        return Finding(name, "failed", f"{folder}: {error.strerror or error}", remedy)
    found = f"{folder}, {size_in_words(free)} free"
    if free < LEAST_DISK:
        return Finding(name, "failed", found, remedy)
    if free < LITTLE_DISK:
        return Finding(name, "warning", found, remedy)
    return Finding(name, "ok", found)


def check_memory() -> Iterator[Finding]:
    """Host memory, a container's limit among it, and what processes share."""
    memory = psutil.virtual_memory()
    free, total = memory.available, memory.total
    limits = [int(text) for each in _LIMITS if (text := _text(each)).isdecimal()]
    if limits and min(limits) < total:
        total = min(limits)
        free = min(free, total)
    remedy = "end other programs, or give the container more"
    state: State = "warning" if free < LITTLE_MEMORY else "ok"
    found = f"{size_in_words(free)} free of {size_in_words(total)}"
    yield Finding("memory", state, found, remedy if state != "ok" else "")
    shared = Path("/dev/shm")
    if shared.is_dir() and (size := shutil.disk_usage(shared).total) < LITTLE_SHARED_MEMORY:
        found = f"{shared} has {size_in_words(size)}"
        yield Finding("shared memory", "warning", found, "docker run --shm-size=1g")


def check_variables(names: Iterable[str]) -> Iterator[Finding]:
    """Environment variables that must have a value. Values are never told."""
    for name in sorted({*names}):
        if os.environ.get(name):
            yield Finding(name, "ok", "is set")
        else:
            found = "is empty" if name in os.environ else "is not set"
            yield Finding(name, "failed", f"the environment variable {found}", f"export {name}=...")


def check_port(host: str, port: int) -> Finding:
    """Whether a server could listen."""
    name = f"port {port}"
    if not 0 <= port <= MOST_PORTS:
        return Finding(name, "failed", f"ports are 0 to {MOST_PORTS}", "--port 8000")
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(address[0], socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address[4])
    except OSError as error:
        found = f"{host}:{port}: {error.strerror}"
        return Finding(name, "failed", found, "end what listens there, or take another: --port N")
    return Finding(name, "ok", f"{host}:{port} is free")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""

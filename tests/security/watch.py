"""A watch on what Python does: processes, files, sockets, imports, libraries, code.

It is an audit hook, which the interpreter calls before each of these. It cannot be removed and
slows everything down, so that it belongs into a process of its own.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import tempfile
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARK = "planted by the fuzzer"
"""In every file with code that must not run."""

_LIBRARIES = tuple(
    os.path.realpath(path)
    for path in {
        *(sys.prefix, sys.base_prefix, sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")),
        *("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/share/zoneinfo"),
        str(Path(__file__).parents[2]),
    }
)
_SYSTEM = (
    *("/dev/null", "/dev/urandom", "/etc/localtime", "/etc/mime.types", "/etc/ssl/openssl.cnf"),
    *("/proc/cpuinfo", "/proc/filesystems", "/proc/meminfo", "/proc/stat"),
    *("/sys/devices/system/cpu", "/sys/fs/cgroup"),
    *(
        f"/proc/{os.getpid()}/{name}"
        for name in ("cgroup", "maps", "mountinfo", "mounts", "stat", "statm", "status")
    ),
)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True)
class Finding:
    what: str
    where: str  # the frames that led to it

    def __str__(self) -> str:
        return f"{self.what}\n{self.where}"


class Watch:
    """Records what must not happen while it is armed."""

    def __init__(
        self, *, readable: Collection[Path], writable: Collection[Path], modules: Collection[str]
    ) -> None:
        self._readable = tuple(os.path.realpath(path) for path in readable)
        self._writable = tuple(os.path.realpath(path) for path in writable)
        self._modules = frozenset(modules)
        self._is_armed = False
        self.findings: list[Finding] = []
        sys.addaudithook(self._hook)

    @contextmanager
    def armed(self) -> Iterator[None]:
        self._is_armed = True
        try:
            yield
        finally:
            self._is_armed = False

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._is_armed or (judge := _JUDGES.get(event)) is None:
            return
        if (what := judge(self, event, args)) is not None:
            frames = traceback.format_list(traceback.extract_stack()[-14:-1])
            self.findings.append(Finding(f"{event}: {what}", "".join(frames)))

    # ------------------------------------------------------------------ judges

    def _never(self, event: str, args: tuple[Any, ...]) -> str:
        return repr(args)[:500]

    def _open(self, _: str, args: tuple[Any, ...]) -> str | None:
        path, mode, flags = args
        if not isinstance(path, str | bytes | os.PathLike):
            return None  # a descriptor
        is_write = bool(flags & _WRITES) if isinstance(flags, int) else "r" not in str(mode)
        return self._wrong(path, is_write=is_write)

    def _list(self, _: str, args: tuple[Any, ...]) -> str | None:
        is_path = args and isinstance(args[0], str | bytes | os.PathLike)
        return self._wrong(args[0], is_write=False) if is_path else None

    def _change(self, _: str, args: tuple[Any, ...]) -> str | None:
        paths = [os.fsdecode(a) for a in args if isinstance(a, str | bytes | os.PathLike)]
        folder = args[-1] if isinstance(args[-1], int) and args[-1] >= 0 else None
        if folder is not None:  # they are relative to its descriptor
            paths = [os.path.join(f"/proc/self/fd/{folder}", path) for path in paths]
        wrong = (self._wrong(path, is_write=True) for path in paths)
        return next((each for each in wrong if each is not None), None)

    def _import(self, _: str, args: tuple[Any, ...]) -> str | None:
        return str(args[0]) if args[0] in self._modules else None

    def _library(self, _: str, args: tuple[Any, ...]) -> str | None:
        name = str(args[0])
        return self._wrong(name, is_write=False) if "/" in name else None

    def _code(self, _: str, args: tuple[Any, ...]) -> str | None:
        name = str(getattr(args[0], "co_filename", ""))
        return name if name.startswith("/") and not _is_below(name, _LIBRARIES) else None

    def _source(self, _: str, args: tuple[Any, ...]) -> str | None:
        source = args[0].decode("utf-8", "replace") if isinstance(args[0], bytes) else args[0]
        return f"{args[1]}" if isinstance(source, str) and MARK in source else None

    def _wrong(self, path: Any, *, is_write: bool) -> str | None:
        found = os.path.realpath(os.fsdecode(path))
        roots = self._writable
        if not is_write:
            roots = (*roots, *self._readable, *_LIBRARIES, *_SYSTEM)
        is_right = _is_below(found, roots) or (is_write and found == "/dev/null")
        return None if is_right else f"{'write' if is_write else 'read'} {found}"


def _is_below(path: str, roots: Collection[str]) -> bool:
    return any(path == root or path.startswith(f"{root}/") for root in roots)


_JUDGES: dict[str, Callable[[Watch, str, tuple[Any, ...]], str | None]] = {
    **dict.fromkeys(
        (
            *("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.spawn"),
            *("os.posix_spawn", "os.startfile", "pty.spawn", "webbrowser.open", "os.kill"),
            *("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.bind"),
            *("socket.gethostbyaddr", "socket.sendto", "socket.sendmsg", "ftplib.connect"),
            *("pickle.find_class", "sys.settrace"),
        ),
        Watch._never,
    ),
    **dict.fromkeys(
        (
            *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink"),
            *("os.truncate", "os.chmod", "os.chown", "os.utime", "shutil.rmtree", "shutil.move"),
            *("shutil.copyfile", "shutil.copytree", "os.setxattr", "os.mkfifo"),
        ),
        Watch._change,
    ),
    **dict.fromkeys(("os.listdir", "os.scandir"), Watch._list),
    "open": Watch._open,
    "import": Watch._import,
    "ctypes.dlopen": Watch._library,
    "exec": Watch._code,
    "compile": Watch._source,
}


def private_temporary_folder(folder: Path) -> None:
    """Have `tempfile` use a folder that may be written to."""
    folder.mkdir()
    tempfile.tempdir = str(folder)

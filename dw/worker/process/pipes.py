"""Pipe readers for a thread that waits for many pipes at once and never blocks on one.

Everything that can be waited for has a `fileno()`, so that it goes into `wait` as it is. Where
descriptors cannot be waited for (Windows), a thread reads each pipe and sets a `Wakeup`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import deque
from multiprocessing import Pipe
from multiprocessing.connection import wait
from multiprocessing.context import get_spawning_popen
from typing import Any, Protocol

WAITS_FOR_DESCRIPTORS = sys.platform != "win32"
CHUNK = 1 << 16  # bytes, a pipe's capacity on Linux
UNREAD_CHUNKS = 16  # kept by a reading thread before the writer has to wait


class Wakeup:
    """A flag that a thread sets and another one waits for, through `fileno`."""

    def __init__(self) -> None:
        self._reader, self._writer = Pipe(duplex=False)
        self._lock = threading.Lock()
        self._is_set = False

    def fileno(self) -> int:
        return self._reader.fileno()

    def set(self) -> None:
        with self._lock:
            if not self._is_set:  # or the pipe would fill
                self._is_set = True
                self._writer.send_bytes(b"!")

    def clear(self) -> None:
        with self._lock:
            if self._is_set:
                self._is_set = False
                self._reader.recv_bytes()

    def close(self) -> None:
        with self._lock:
            self._reader.close()
            self._writer.close()


class Waitable(Protocol):
    def fileno(self) -> int: ...


class PipeReader(Waitable, Protocol):
    """Bytes as they arrive. It can be waited for, and stays ready after the end."""

    def receive(self) -> bytes | None:
        """What has arrived; None when nothing has, empty when every writer has closed the pipe."""

    def close(self) -> None: ...


def pipe_reader(fd: int) -> PipeReader:
    """A reader of this descriptor, which it owns and closes."""
    return DescriptorReader(fd) if WAITS_FOR_DESCRIPTORS else ThreadReader(fd)


def is_ready(reader: Waitable, timeout_s: float) -> bool:
    return bool(wait([reader], timeout_s))  # type: ignore[list-item]  # typeshed lacks `fileno()`


class DescriptorReader:
    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def receive(self) -> bytes | None:
        try:
            return os.read(self._fd, CHUNK)
        except BlockingIOError:
            return None

    def close(self) -> None:
        os.close(self._fd)


class ThreadReader:
    """Reads in a thread of its own, which closes the descriptor when the pipe ends."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._wakeup = Wakeup()
        self._chunks: deque[bytes] = deque()
        self._room = threading.Semaphore(UNREAD_CHUNKS)
        self._is_closed = False
        threading.Thread(target=self._read, name="pipe", daemon=True).start()

    def fileno(self) -> int:
        return self._wakeup.fileno()

    def receive(self) -> bytes | None:
        self._wakeup.clear()
        if not self._chunks:
            return None
        if not self._chunks[0]:  # the end stays
            self._wakeup.set()
            return b""
        self._room.release()
        chunk = self._chunks.popleft()
        if self._chunks:
            self._wakeup.set()
        return chunk

    def close(self) -> None:
        self._is_closed = True
        self._room.release()
        self._wakeup.close()

    def _read(self) -> None:
        data = b"more"
        while data and not self._is_closed:
            self._room.acquire()
            try:
                data = os.read(self._fd, CHUNK)
            except OSError:
                data = b""
            self._chunks.append(data)
            with contextlib.suppress(OSError):  # closed meanwhile
                self._wakeup.set()
        os.close(self._fd)


class Inherited:
    """A descriptor on its way into a child that is being spawned."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __reduce__(self) -> tuple[Any, ...]:
        popen = get_spawning_popen()
        assert popen is not None
        if sys.platform != "win32":
            return Inherited, (popen.duplicate_for_child(self.fd),)
        import msvcrt

        return _of_handle, (popen.duplicate_for_child(msvcrt.get_osfhandle(self.fd)),)


def _of_handle(handle: int) -> Inherited:
    import msvcrt

    return Inherited(msvcrt.open_osfhandle(handle, os.O_RDWR))  # type: ignore[attr-defined]

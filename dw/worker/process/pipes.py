"""Pipes as the supervisor's thread needs them: it waits for many at once, and never for one.

Where descriptors cannot be waited for (Windows), a thread reads each pipe and rings a `Wakeup`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import deque
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from multiprocessing.context import get_spawning_popen
from typing import Any, Protocol

WAITS_FOR_DESCRIPTORS = sys.platform != "win32"
CHUNK = 1 << 16  # bytes, a pipe's capacity on Linux
UNREAD_CHUNKS = 16  # that a reading thread keeps before the writer has to wait


class Wakeup:
    """Wakes whoever waits for `ear`, from any thread."""

    def __init__(self) -> None:
        self.ear, self._mouth = Pipe(duplex=False)
        self._lock = threading.Lock()
        self._is_ringing = False

    def ring(self) -> None:
        with self._lock:
            if not self._is_ringing:  # or the pipe would fill
                self._is_ringing = True
                self._mouth.send_bytes(b"!")

    def hush(self) -> None:
        with self._lock:
            if self._is_ringing:
                self._is_ringing = False
                self.ear.recv_bytes()

    def close(self) -> None:
        with self._lock:
            self.ear.close()
            self._mouth.close()


class PipeReader(Protocol):
    """Bytes as they arrive. `ear` is what to wait for; it stays ready after the end."""

    @property
    def ear(self) -> int | Connection[Any, Any]: ...

    def receive(self) -> bytes | None:
        """What is there: None when nothing is, empty when nobody can write any more."""

    def close(self) -> None: ...


def pipe_reader(fd: int) -> PipeReader:
    """A reader of this descriptor, which it owns from now on."""
    return DescriptorReader(fd) if WAITS_FOR_DESCRIPTORS else ThreadReader(fd)


def is_ready(reader: PipeReader, timeout_s: float) -> bool:
    return bool(wait([reader.ear], timeout_s))


class DescriptorReader:
    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self.ear = fd

    def receive(self) -> bytes | None:
        try:
            return os.read(self.ear, CHUNK)
        except BlockingIOError:
            return None

    def close(self) -> None:
        os.close(self.ear)


class ThreadReader:
    """Reads in a thread of its own, which ends, and closes the descriptor, with the pipe."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._wakeup = Wakeup()
        self._chunks: deque[bytes] = deque()
        self._room = threading.Semaphore(UNREAD_CHUNKS)
        self._is_closed = False
        threading.Thread(target=self._read, name="pipe", daemon=True).start()

    @property
    def ear(self) -> Connection[Any, Any]:
        return self._wakeup.ear

    def receive(self) -> bytes | None:
        self._wakeup.hush()
        if not self._chunks:
            return None
        if not self._chunks[0]:  # the end stays
            self._wakeup.ring()
            return b""
        self._room.release()
        chunk = self._chunks.popleft()
        if self._chunks:
            self._wakeup.ring()
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
                self._wakeup.ring()
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

"""Event readers: a worker's events out of its pipe, without waiting for the rest of one.

`Connection.recv_bytes` waits until a message is whole: a worker that is stopped in the middle of
one would stop the shell, and so would four bytes of garbage that promise 2 GB. Here the frames of
`multiprocessing.connection` (an int32 of the length in network order, then the message; -1 and an
int64 for 2 GB and more) are put together as they come. Each message is JSON.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any, Protocol

from dw.codec import from_bytes
from dw.events import Event, TimedMessage
from dw.worker.process import pipes

LONGEST_MESSAGE = 64 << 20  # bytes; a plan of a thousand components has a hundred thousand


class BadMessage(Exception):
    """What arrived is not an event. Nothing after it can be trusted."""

    def __init__(self, reason: object) -> None:
        super().__init__(f"it sent an invalid message: {reason}")


class EventReader(pipes.Waitable, Protocol):
    """It can be waited for until it `has_ended`: every writer has closed the pipe."""

    has_ended: bool

    def receive(self) -> Iterator[Event]:
        """What has arrived, at most one pipe full. Raises BadMessage."""

    def close(self) -> None: ...


def event_reader(connection: Connection[Any, Any]) -> EventReader:
    """A reader of this connection, which it owns and closes."""
    if not pipes.WAITS_FOR_DESCRIPTORS:
        return MessageEventReader(connection)
    fd = os.dup(connection.fileno())
    connection.close()
    return StreamEventReader(fd)


class StreamEventReader:
    """Events from a stream of bytes."""

    def __init__(self, fd: int) -> None:
        self._pipe = pipes.DescriptorReader(fd)
        self._bytes = bytearray()
        self.has_ended = False

    def fileno(self) -> int:
        return self._pipe.fileno()

    def receive(self) -> Iterator[Event]:
        data = self._pipe.receive()
        if data == b"":
            self.has_ended = True
        self._bytes += data or b""
        while len(self._bytes) >= 4:
            (size,) = struct.unpack_from("!i", self._bytes)
            if not 0 < size <= LONGEST_MESSAGE:
                raise BadMessage(f"a length of {size} bytes")
            if len(self._bytes) < 4 + size:
                return
            message = bytes(self._bytes[4 : 4 + size])
            del self._bytes[: 4 + size]
            yield _event(message)

    def close(self) -> None:
        self._pipe.close()


class MessageEventReader:
    """Events from a pipe that keeps messages apart, as the pipes of Windows do."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        self.has_ended = False

    def fileno(self) -> int:
        return self._connection.fileno()

    def receive(self) -> Iterator[Event]:
        for _ in range(pipes.CHUNK // 100):
            try:
                if not self._connection.poll():
                    return
                message = self._connection.recv_bytes(LONGEST_MESSAGE)
            except EOFError:
                self.has_ended = True
                return
            except OSError as error:
                raise BadMessage(error) from None
            yield _event(message)

    def close(self) -> None:
        self._connection.close()


def _event(data: bytes) -> Event:
    try:
        message = from_bytes(data)
    except ValueError as error:
        raise BadMessage(error) from None
    if not isinstance(message, TimedMessage):
        raise BadMessage(f"{type(message).__name__} is a command")
    return message

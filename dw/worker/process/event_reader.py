"""A worker's events, read without ever waiting for the rest of one.

`Connection.recv` waits until a message is whole: a worker that is stopped in the middle of one
would stop the shell, and so would four bytes of garbage that promise 2 GB. Here the frames of
`multiprocessing.connection` (an int32 of the length in network order, then a pickle; -1 and an
int64 for 2 GB and more) are put together as they come.
"""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any, Protocol

from dw.events import EVENTS, Event
from dw.worker.process import pipes

LONGEST_MESSAGE = 64 << 20  # bytes; a plan of a thousand components has a hundred thousand


class BadMessage(Exception):
    """What arrived is no event. Nothing after it can be believed."""


class EventReader(Protocol):
    """`ear` is what to wait for, until the inbox `has_ended`: nobody can write to it any more."""

    has_ended: bool

    @property
    def ear(self) -> int | Connection[Any, Any]: ...

    def receive(self) -> Iterator[Event]:
        """What has arrived, at most one pipe full. Raises BadMessage."""

    def close(self) -> None: ...


def inbox(connection: Connection[Any, Any]) -> EventReader:
    """The inbox of this connection, which it owns from now on."""
    if not pipes.WAITS_FOR_DESCRIPTORS:
        return MessageEventReader(connection)
    fd = os.dup(connection.fileno())
    connection.close()
    return StreamEventReader(fd)


class StreamEventReader:
    """Events out of a stream of bytes."""

    def __init__(self, fd: int) -> None:
        self._pipe = pipes.DescriptorReader(fd)
        self._bytes = bytearray()
        self.has_ended = False

    @property
    def ear(self) -> int:
        return self._pipe.ear

    def receive(self) -> Iterator[Event]:
        data = self._pipe.receive()
        if data == b"":
            self.has_ended = True
        self._bytes += data or b""
        while (message := self._next()) is not None:
            yield _event(message)

    def close(self) -> None:
        self._pipe.close()

    def _next(self) -> bytes | None:
        """The first message, when all of it is there."""
        if len(self._bytes) < 4:
            return None
        (size,) = struct.unpack_from("!i", self._bytes)
        if not 0 < size <= LONGEST_MESSAGE:
            raise BadMessage(f"it sent what is no event: a message of {size} bytes")
        if len(self._bytes) < 4 + size:
            return None
        message = bytes(self._bytes[4 : 4 + size])
        del self._bytes[: 4 + size]
        return message


class MessageEventReader:
    """Events out of a pipe that keeps messages apart, as those of Windows do."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self.ear = connection
        self.has_ended = False

    def receive(self) -> Iterator[Event]:
        for _ in range(pipes.CHUNK // 100):
            try:
                if not self.ear.poll():
                    return
                message = self.ear.recv_bytes(LONGEST_MESSAGE)
            except EOFError:
                self.has_ended = True
                return
            except OSError as error:
                raise BadMessage(f"it sent what cannot be read ({error})") from None
            yield _event(message)

    def close(self) -> None:
        self.ear.close()


def _event(data: bytes) -> Event:
    try:
        message = pickle.loads(data)
    except Exception as error:  # a pickle can raise anything
        raise BadMessage(f"it sent what cannot be read ({type(error).__name__})") from None
    if not isinstance(message, EVENTS):
        raise BadMessage(f"it sent a {type(message).__name__}, which is no event")
    return message  # type: ignore[no-any-return]

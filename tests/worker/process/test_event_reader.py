import multiprocessing
import os

import pytest

from dw.events import Cancel, Checked, Stepped
from dw.types import Diagnostic
from dw.worker.process.event_reader import BadMessage, inbox

EVENTS = [
    Stepped(1, "gen", "denoise", 1, 4),
    Checked(2, tuple(Diagnostic("w.json", n, 1, "wrong") for n in range(2000))),
]


@pytest.fixture
def pipe():
    ours, theirs = multiprocessing.Pipe(duplex=False)
    box = inbox(ours)
    yield box, theirs
    box.close()


def test_events_arrive_in_their_order_though_some_fill_the_pipe(pipe):
    box, theirs = pipe
    for event in EVENTS:
        theirs.send(event)
    assert [*box.receive(), *box.receive()] == EVENTS


def test_a_message_that_comes_byte_by_byte_is_put_together(pipe):
    box, theirs = pipe
    read, write = os.pipe()
    multiprocessing.connection.Connection(write, readable=False).send(EVENTS[0])
    received = []
    for byte in os.read(read, 4096):
        os.write(theirs.fileno(), bytes([byte]))
        received += box.receive()
    os.close(read)
    assert received == EVENTS[:1]


@pytest.mark.parametrize("header", [b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", bytes(4)])
def test_a_length_that_cannot_be_is_refused_at_once(pipe, header):
    box, theirs = pipe
    os.write(theirs.fileno(), header)
    with pytest.raises(BadMessage, match="a message of"):
        list(box.receive())


@pytest.mark.parametrize("message", ["text", Cancel(1), None])
def test_what_is_no_event_is_refused(pipe, message):
    box, theirs = pipe
    theirs.send(message)
    with pytest.raises(BadMessage, match="which is no event"):
        list(box.receive())


def test_the_end_is_seen_and_what_is_left_of_a_message_is_dropped(pipe):
    box, theirs = pipe
    theirs.send(EVENTS[0])
    os.write(theirs.fileno(), b"\x00\x00\x10\x00half")
    theirs.close()
    assert [*box.receive(), *box.receive()] == EVENTS[:1]
    assert box.has_ended

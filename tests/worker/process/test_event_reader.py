import json
import multiprocessing
import os
import pickle

import pytest

from dw.codec import to_bytes
from dw.events import Cancel, Checked, Stepped
from dw.types import Diagnostic
from dw.worker.process.event_reader import BadMessage, event_reader

EVENTS = [
    Stepped(1, "gen", "denoise", 1, 4),
    Checked(2, tuple(Diagnostic("w.json", n, 1, "wrong") for n in range(600))),
]


@pytest.fixture
def pipe():
    ours, theirs = multiprocessing.Pipe(duplex=False)
    box = event_reader(ours)
    yield box, theirs
    box.close()


def test_events_arrive_in_their_order_though_some_fill_the_pipe(pipe):
    box, theirs = pipe
    for event in EVENTS:
        theirs.send_bytes(to_bytes(event))
    assert [*box.receive(), *box.receive()] == EVENTS


def test_a_message_that_comes_byte_by_byte_is_put_together(pipe):
    box, theirs = pipe
    read, write = os.pipe()
    multiprocessing.connection.Connection(write, readable=False).send_bytes(to_bytes(EVENTS[0]))
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
    with pytest.raises(BadMessage, match="a length of"):
        list(box.receive())


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"text", "Expecting value"),
        (json.dumps("text").encode(), "a message is a JSON object"),
        (to_bytes(Cancel(1)), "Cancel is a command"),
        (pickle.dumps(Cancel(1)), "can't decode"),
    ],
)
def test_what_is_not_an_event_is_refused(pipe, message, reason):
    box, theirs = pipe
    theirs.send_bytes(message)
    with pytest.raises(BadMessage, match=reason):
        list(box.receive())


def test_the_end_is_seen_and_what_is_left_of_a_message_is_dropped(pipe):
    box, theirs = pipe
    theirs.send_bytes(to_bytes(EVENTS[0]))
    os.write(theirs.fileno(), b"\x00\x00\x10\x00half")
    theirs.close()
    assert [*box.receive(), *box.receive()] == EVENTS[:1]
    assert box.has_ended

"""What Windows and macOS lack, taken away on Linux."""

import os
import time

import pytest

from dw.events import Died, Executing, Finished, LogLine, Stepped
from dw.worker.process import pipes, process
from dw.worker.process.pipes import ThreadReader, Wakeup
from tests.worker.conftest import a_run, workers


@pytest.fixture
def without_pidfd(monkeypatch):
    monkeypatch.setattr(process, "_pidfd", lambda pid: None)


@pytest.fixture
def without_descriptors(monkeypatch):
    """Pipes are read by threads, as where only connections can be waited for."""
    monkeypatch.setattr(pipes, "WAITS_FOR_DESCRIPTORS", False)


CAUSES = [
    ("kills_itself", "killed by signal 9 (SIGKILL)"),
    ("exits_with_zero", "exited with code 0"),
    ("forks_and_dies", "exited with code 7"),
    ("writes_garbage", "it sent an invalid message: bad message length"),
]


@pytest.mark.usefixtures("without_pidfd")
@pytest.mark.parametrize("has_waitid", [True, False])
def test_without_a_pidfd_a_death_is_told_within_a_second(make_client, monkeypatch, has_waitid):
    if not has_waitid:
        monkeypatch.delattr(os, "waitid")
    client = make_client("forks_and_dies")
    for event in client.submit(a_run(client)):
        if isinstance(event, Executing):
            executing_at = time.monotonic()
    assert isinstance(event, Died)
    assert event.cause == "exited with code 7"
    assert time.monotonic() - executing_at < 1.0
    client.close()
    assert workers() == []


@pytest.mark.usefixtures("without_descriptors", "without_pidfd")
@pytest.mark.parametrize(("child", "cause"), CAUSES)
def test_with_threads_for_readers_every_cause_is_named_too(make_client, child, cause):
    client = make_client(child)
    died = client.submit(a_run(client)).result()
    assert isinstance(died, Died)
    assert died.cause == cause


@pytest.mark.usefixtures("without_descriptors")
def test_with_threads_for_readers_the_last_words_are_heard(make_client):
    client = make_client("kills_itself")
    died = client.submit(a_run(client)).result()
    assert died.tail[-1] == "the last words"


@pytest.mark.usefixtures("without_descriptors")
def test_with_threads_for_readers_runs_follow_each_other(make_client):
    client = make_client("obedient", standby=True)
    for _ in range(3):
        handle = client.submit(a_run(client))
        for event in handle:
            if isinstance(event, Stepped) and event.done == 2:
                client.stop_run(handle.run_id)
        assert isinstance(event, Finished)
    client.close()
    assert workers() == []


@pytest.mark.usefixtures("without_descriptors")
def test_with_threads_for_readers_a_flood_is_cut(make_client):
    client = make_client("floods_stdout")
    events = list(client.submit(a_run(client)))
    assert 0 < sum(isinstance(event, LogLine) for event in events) < 1000
    assert isinstance(events[-1], Finished)


def test_a_reading_thread_ends_with_its_pipe_and_the_end_stays():
    read, write = os.pipe()
    reader = ThreadReader(read)
    os.write(write, b"abc")
    os.close(write)
    received = b""
    while (data := reader.receive()) != b"":
        received += data or b""
    assert (received, reader.receive()) == (b"abc", b"")
    assert pipes.is_ready(reader, 0)
    reader.close()


def test_a_reading_thread_keeps_a_writer_waiting_when_nobody_receives():
    read, write = os.pipe()
    os.set_blocking(write, False)
    reader = ThreadReader(read)
    written, last = 0, -1
    while written != last:
        last = written
        for _ in range(100):
            try:
                written += os.write(write, bytes(4096))
            except BlockingIOError:
                time.sleep(0.001)
    assert written <= (pipes.UNREAD_CHUNKS + 2) * pipes.CHUNK
    os.close(write)
    while reader.receive() != b"":
        pass
    reader.close()


def test_a_wakeup_that_is_set_is_not_set_again():
    wakeup = Wakeup()
    for _ in range(100_000):
        wakeup.set()
    wakeup.clear()
    assert not pipes.is_ready(wakeup, 0)
    wakeup.close()

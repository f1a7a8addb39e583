"""Every fault of a worker under the real supervisor: what is reported, how soon, what follows."""

from __future__ import annotations

import contextlib
import os
import random
import select
import threading
import time
from dataclasses import dataclass, field

import psutil
import pytest

from dw.events import TERMINAL, Died, Executing, Failed, Finished, Run, RunTimedOut
from dw.worker.process import exit_cause
from tests.processes import footprint, grown
from tests.worker.conftest import a_run, obey_from_now_on, workers

TOLD_WITHIN_S = 0.5
PROMPT_WITHIN_S = 0.1


@dataclass
class Fault:
    """What a child does, in `run`, and what has to be reported."""

    child: str
    kind: str
    cause: str
    limits: dict[str, float] = field(default_factory=dict)
    is_cancelled: bool = False  # by the user, as soon as it executes

    def __str__(self):
        return self.child


GRACE = {"grace_s": 0.2}
CLOSED_PIPE = {"closed_pipe_s": 0.1}
UNSTOPPED = "it did not stop within 0.2 s of being asked"
INVALID = "it sent an invalid message"
DEATHS = [
    Fault("exits_in_boot", "boot", "exited with code 3 before it was ready"),
    Fault("raises_in_boot", "boot", "exited with code 1 before it was ready"),
    Fault("never_greets", "boot", "it was not ready within 0.3 s", {"boot_s": 0.3}),
    Fault("dies_in_load", "signal", "killed by signal 9 (SIGKILL)"),
    Fault("raises_in_load", "exit", "exited with code 1"),
    Fault("kills_itself", "signal", "killed by signal 9 (SIGKILL)"),
    Fault("segfaults", "signal", "killed by signal 11 (SIGSEGV)"),
    Fault("exits_with_zero", "exit", "exited with code 0"),
    Fault("forks_and_dies", "exit", "exited with code 7"),
    Fault("is_oom_killed", "oom-killer", exit_cause.OOM_KILLED),
    Fault("sends_what_has_no_json", "exit", "exited with code 1"),
    Fault("sends_half_an_event", "killed", f"{INVALID}: Expecting property name"),
    Fault("sends_an_unknown_event", "killed", f"{INVALID}: unknown message 'Sinned'"),
    Fault("sends_a_pickle", "killed", f"{INVALID}: 'utf-8' codec can't decode byte 0x80"),
    Fault("writes_garbage", "killed", f"{INVALID}: a length of 2147483647 bytes"),
    Fault("closes_its_events", "killed", "it closed its event pipe and did not exit", CLOSED_PIPE),
    Fault("holds_the_gil", "killed", UNSTOPPED, GRACE, is_cancelled=True),
    Fault("ignores_cancel", "killed", UNSTOPPED, GRACE, is_cancelled=True),
    Fault("stops_itself", "killed", UNSTOPPED, GRACE, is_cancelled=True),
    Fault("stops_in_mid_message", "killed", UNSTOPPED, GRACE, is_cancelled=True),
]
SURVIVED = [
    ("floods_stdout", Finished),
    ("writes_a_long_line", Finished),
    ("replies_twice", Finished),
    ("replies_late", Finished),
    ("exhausts_memory", Failed),
]


@pytest.fixture(autouse=True)
def memory_events(tmp_path, monkeypatch):
    """The kernel's count of OOM kills, in a file of ours."""
    path = tmp_path / "memory.events"
    path.write_text("oom_kill 0\n")
    monkeypatch.setenv("MEMORY_EVENTS", str(path))
    monkeypatch.setenv("BOMB", str(tmp_path / "bomb"))
    monkeypatch.setattr(exit_cause, "CGROUPS", tmp_path)
    monkeypatch.setattr(exit_cause, "SELF_CGROUP", tmp_path / "none")


class Watch(contextlib.AbstractContextManager):
    """Meanwhile: what the longest call of the client took, and when process `pid` died."""

    def __init__(self, client):
        self.client = client
        self.longest_s = 0.0
        self.died_at = None
        self.pidfd = os.pidfd_open(client.status().pid)
        self.is_over = False
        self.threads = [threading.Thread(target=each) for each in (self.call, self.wait)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self.is_over = True
        for thread in self.threads:
            thread.join()
        os.close(self.pidfd)

    def call(self):
        while not self.is_over:
            began = time.monotonic()
            self.client.status()
            self.longest_s = max(self.longest_s, time.monotonic() - began)
            time.sleep(0.002)

    def wait(self):
        while not self.is_over and self.died_at is None:
            if select.select([self.pidfd], [], [], 0.01)[0]:
                self.died_at = time.monotonic()


def end_of(client, run, **options):
    """The run's only terminal event, when it came, and what was seen meanwhile."""
    is_cancelled = options.pop("is_cancelled", False)
    handle = client.submit(run, **options)
    with Watch(client) as watch:
        for event in handle:
            if is_cancelled and isinstance(event, Executing):
                client.cancel(run.run_id)
        told_at = time.monotonic()
    return event, told_at, watch


@pytest.mark.parametrize("fault", DEATHS, ids=str)
def test_a_death_is_named_right_and_told_at_once_and_the_next_run_works(make_client, fault):
    client = make_client(fault.child, **fault.limits)
    run = a_run(client)
    died, told_at, watch = end_of(client, run, is_cancelled=fault.is_cancelled)
    assert isinstance(died, Died)
    assert (died.run_id, died.kind) == (run.run_id, fault.kind)
    assert died.cause.startswith(fault.cause)
    assert watch.died_at is None or told_at - watch.died_at < TOLD_WITHIN_S
    assert watch.longest_s < PROMPT_WITHIN_S
    obey_from_now_on(client)
    assert isinstance(client.submit(a_run(client)).result(), Finished)
    client.close()
    assert workers() == []


def test_a_pickle_is_not_executed(make_client, tmp_path):
    client = make_client("sends_a_pickle")
    assert isinstance(client.submit(a_run(client)).result(), Died)
    assert not (tmp_path / "bomb").exists()


@pytest.mark.parametrize(("child", "end"), SURVIVED)
def test_a_sin_that_is_no_death_costs_nothing(make_client, child, end):
    client = make_client(child)
    for _ in range(2):
        run = a_run(client)
        event, _, watch = end_of(client, run)
        assert (type(event), event.run_id) == (end, run.run_id)
        assert watch.longest_s < PROMPT_WITHIN_S
        assert watch.died_at is None
    client.close()
    assert workers() == []


def test_a_memory_that_is_exhausted_is_a_failure_of_its_own_kind(make_client):
    client = make_client("exhausts_memory")
    failed = client.submit(a_run(client)).result()
    assert isinstance(failed, Failed)
    assert failed.kind == "resources"
    assert "MemoryError" in failed.trace


@pytest.mark.parametrize("child", ["holds_the_gil", "ignores_cancel"])
def test_who_is_killed_says_where_it_was_stuck(make_client, child):
    client = make_client(child, grace_s=0.2)
    died, _, _ = end_of(client, a_run(client), is_cancelled=True)
    assert isinstance(died, Died)
    assert died.stuck_at is not None
    assert f"{child}.py" in died.stack or "obedient.py" in died.stuck_at
    timed_out = client.submit(a_run(client), timeout_s=0.05).result()
    assert isinstance(timed_out, RunTimedOut)
    assert timed_out.stuck_at is not None


def test_who_never_greets_says_where_it_hangs(make_client):
    died = (client := make_client("never_greets", boot_s=0.5)).submit(a_run(client)).result()
    assert isinstance(died, Died)
    assert died.stuck_at.startswith("starting, in serve (never_greets.py:")


def test_a_standby_that_never_greets_is_told_of_and_not_made_again(make_client):
    client = make_client("never_greets", boot_s=0.2, standby=True)
    while not client.status().standby_trouble:
        pass
    assert client.status().standby_trouble == "it was not ready within 0.2 s"
    assert client.status().standby_pid is None


def test_an_undead_process_is_given_up_and_nothing_waits_for_it(make_client, monkeypatch):
    """As one in the driver's hands, on which SIGKILL has no effect."""
    client = make_client("ignores_cancel", exit_s=0.1)
    handle = client.submit(a_run(client))
    next(event for event in handle if isinstance(event, Executing))
    process = client._processes[1]
    monkeypatch.setattr(process, "kill", lambda: None)
    client.kill()
    died = handle.result()
    assert isinstance(died, Died)
    assert "waits in the kernel" in died.cause
    obey_from_now_on(client)
    assert isinstance(client.submit(a_run(client)).result(), Finished)
    client.close()
    psutil.Process(process.pid).kill()


SINS = [
    "kills_itself",
    "segfaults",
    "exits_with_zero",
    "forks_and_dies",
    "sends_what_has_no_json",
    "sends_half_an_event",
    "sends_a_pickle",
    "writes_garbage",
    "holds_the_gil",
]


def test_runs_with_a_fault_in_each_tenth_leave_the_shell_as_it_was(make_client):
    client = make_client("sins_on_request", grace_s=0.05)
    chance = random.Random(3)
    ends = {}
    before = None
    for number in range(201):
        sin = {"sin": chance.choice(SINS)} if number % 10 == 9 else {}
        run = Run(client.next_id(), "w.json", "{}", sin, "outputs")
        timeout_s = 0.05 if sin.get("sin") == "holds_the_gil" else 5.0
        events = list(client.submit(run, timeout_s=timeout_s))
        ends[run.run_id] = [type(each) for each in events if isinstance(each, TERMINAL)]
        before = before or footprint()
    assert not grown(before)
    assert len(ends) == 201
    assert all(len(each) == 1 for each in ends.values())
    assert sum(each == [Finished] for each in ends.values()) == 181
    assert client._handles == {}


def test_a_pipe_that_has_ended_does_not_keep_the_supervisor_busy(make_client, monkeypatch):
    client = make_client("closes_its_events", closed_pipe_s=0.5)
    turns, wait = [], client._wait
    monkeypatch.setattr(client, "_wait", lambda: turns.append(1) or wait())
    client.submit(a_run(client)).result()
    assert len(turns) < 100

"""What the policy knows of one worker: its clocks, and how each of its commands ends with it."""

from __future__ import annotations

from typing import Any

import pytest

from dw.events import Died, Exited, Report, Run, RunTimedOut
from dw.worker.process.exit_cause import ExitStatus
from dw.worker.supervision.command_state import CommandState, Limits
from dw.worker.supervision.worker_state import (
    NEVER,
    TRANSITIONS,
    Reason,
    State,
    WorkerState,
    clock_cause,
    timed_out,
)

LIMITS = Limits(stall_s=20.0, grace_s=2.0, stack_s=0.5, boot_s=25.0, shutdown_s=1.0, exit_s=5.0)
RUN = Run(7, "w", "{}", {}, "out")
STACK = 'Current thread 0x1 (most recent call first):\n  File "/x/unet.py", line 3 in forward\n'


def worker(state: State = State.RUNNING, **facts: Any) -> WorkerState:
    facts = {"pid": 1001, **facts}
    return WorkerState(1, 10.0, was_standby=False, state=state, **facts)


def job(**facts: Any) -> CommandState:
    return CommandState(RUN, **{"timeout_s": 300.0, "last_step": "gen: denoise step 2/4", **facts})


def status(code: int = -9, **facts: Any) -> ExitStatus:
    return ExitStatus(1001, code, **{"oom_killed": False, **facts})


# ------------------------------------------------------------------ states


def test_a_new_worker_boots() -> None:
    new = WorkerState(3, 1.0, was_standby=True)
    assert (new.number, new.started_at, new.was_standby) == (3, 1.0, True)
    assert new.state is State.BOOTING
    assert (new.pid, new.is_ready, new.is_busy, new.is_leaving) == (0, False, True, False)
    assert (new.announced, new.is_given_up, new.reports, new.shutdowns) == (False, False, set(), [])
    assert (new.rss, new.heartbeat_at, new.stack_requested_at) == (None, None, None)
    assert new.activity == "starting"


@pytest.mark.parametrize("before", State)
@pytest.mark.parametrize("after", State)
def test_only_the_changes_of_the_table_are_made(before: State, after: State) -> None:
    changed = worker(before)
    if after in TRANSITIONS[before]:
        changed.become(after)
        assert changed.state is after
        return
    with pytest.raises(AssertionError) as refused:
        changed.become(after)
    assert str(refused.value) == f"worker 1 cannot go from {before} to {after}"
    assert changed.state is before


def test_the_table_of_states() -> None:
    last = {State.STOPPING, State.KILLED}
    assert {
        State.BOOTING: {State.IDLE, *last},
        State.IDLE: {State.RUNNING, *last},
        State.RUNNING: {State.IDLE, State.CANCELLING, *last},
        State.CANCELLING: {State.IDLE, *last},
        State.STOPPING: {State.KILLED},
        State.KILLED: set(),
    } == TRANSITIONS
    assert [each.value for each in State] == [
        *("starting", "idle", "running", "cancelling", "stopping", "killed"),
    ]


def test_who_is_busy_and_who_leaves() -> None:
    assert {state for state in State if worker(state).is_leaving} == {State.STOPPING, State.KILLED}
    assert {state for state in State if worker(state).is_busy} == {State.BOOTING}
    assert worker(State.KILLED, job=job()).is_busy


def test_what_it_does_in_words() -> None:
    assert worker(State.IDLE).activity == "idle"
    assert worker(job=job()).activity == "gen: denoise step 2/4"
    assert worker(job=job(last_step=None)).activity == "serving run"
    assert worker(job=CommandState(Report(2))).activity == "serving report"


def test_its_silence_begins_with_its_last_heartbeat() -> None:
    assert worker().silence(50.0) == 0.0
    assert worker(heartbeat_at=47.5).silence(50.0) == 2.5


@pytest.mark.parametrize(
    ("pid", "killed", "failed"),
    [
        (0, None, True),
        (0, Reason("slow", "boot"), True),
        (0, Reason("asked"), False),
        (0, Reason("other", "version"), False),
        (1001, None, False),
        (1001, Reason("slow", "boot"), False),
    ],
)
def test_a_start_fails_before_it_is_ready_and_not_by_our_will(
    pid: int, killed: Reason | None, failed: bool
) -> None:
    assert worker(pid=pid, killed=killed).failed_to_start is failed


def test_a_reason_is_a_kill_that_is_no_fault() -> None:
    assert (Reason("x").kind, Reason("x").is_fault) == ("killed", False)


# ------------------------------------------------------------------ clocks


def test_the_clock_that_applies() -> None:
    assert worker(State.KILLED, leaving_since=4.0).due(LIMITS) == 9.0
    assert worker(State.KILLED, leaving_since=4.0, is_given_up=True).due(LIMITS) == NEVER
    assert worker(State.STOPPING, leaving_since=4.0).due(LIMITS) == 5.0
    assert worker(State.BOOTING).due(LIMITS) == 35.0
    assert worker(State.BOOTING, stack_requested_at=35.0).due(LIMITS) == 35.5
    assert worker(State.IDLE).due(LIMITS) == NEVER
    assert worker(State.IDLE, pipe_closed_at=4.0).due(LIMITS) == 4.0 + LIMITS.closed_pipe_s
    executing = job(executing_since=100.0)
    assert worker(job=executing).due(LIMITS) == 400.0
    assert worker(job=executing, pipe_closed_at=398.5).due(LIMITS) == 400.0
    assert worker(job=executing, pipe_closed_at=397.0).due(LIMITS) == 397.0 + LIMITS.closed_pipe_s


# ------------------------------------------------------------------ its end


def test_all_of_its_commands_end_with_it_in_order() -> None:
    ending = worker(job=job(), reports={9, 8}, shutdowns=[3, 4])
    ends = ending.terminal_events(status(3, tail=("last words",)), LIMITS)
    cause = ("exit", "exited with code 3", 1001)
    words = {"tail": ("last words",)}
    assert ends == [
        Exited(3),
        Exited(4),
        Died(7, *cause, last_step="gen: denoise step 2/4", **words),
        Died(8, *cause, **words),
        Died(9, *cause, **words),
    ]
    assert (ending.job, ending.reports, ending.shutdowns) == (None, set(), [])
    assert ending.terminal_events(status(3), LIMITS) == []


@pytest.mark.parametrize(
    ("facts", "exit_status", "kind", "cause"),
    [
        ({}, status(-11), "signal", "killed by signal 11 (SIGSEGV)"),
        ({}, status(3), "exit", "exited with code 3"),
        ({"killed": Reason("asked")}, status(-9), "killed", "asked"),
        ({"killed": Reason("asked")}, status(-15), "killed", "asked"),
        ({"killed": Reason("asked")}, status(-11), "signal", "killed by signal 11 (SIGSEGV)"),
        ({"killed": Reason("asked")}, status(0), "exit", "exited with code 0"),
        ({"killed": Reason("CUDA", "poisoned")}, status(0), "poisoned", "CUDA"),
        ({"pid": 0}, status(3), "boot", "exited with code 3 before it was ready"),
        ({"pid": 0}, status(1, start_error="too many files"), "boot", "too many files"),
        ({"pid": 0, "killed": Reason("too slow", "boot")}, status(-9), "boot", "too slow"),
    ],
)
def test_the_cause_is_the_real_one(
    facts: dict[str, Any], exit_status: ExitStatus, kind: Any, cause: str
) -> None:
    assert worker(**facts).terminal_event(7, exit_status, LIMITS) == Died(7, kind, cause, 1001)


def test_where_it_was_stuck_is_known_of_a_kill_with_a_stack() -> None:
    killed = Reason("asked")
    ends = {
        (bool(reason), bool(stack)): worker(killed=reason).terminal_event(
            7, status(stack=stack), LIMITS, job()
        )
        for reason in (killed, None)
        for stack in (STACK, "")
    }
    assert {key: end.stuck_at for key, end in ends.items()} == {
        (True, True): "gen: denoise step 2/4, in forward (unet.py:3)",
        (True, False): None,
        (False, True): None,
        (False, False): None,
    }
    assert {key: end.stack for key, end in ends.items() if end.stack} == {
        (True, True): STACK,
        (False, True): STACK,
    }
    booting = worker(State.KILLED, pid=0, killed=Reason("too slow", "boot"))
    end = booting.terminal_event(7, status(stack=STACK), LIMITS)
    assert end.stuck_at == "starting, in forward (unet.py:3)"
    assert end.last_step is None


@pytest.mark.parametrize(("reason", "clock"), [("deadline", "deadline"), ("stall", "stall")])
def test_a_kill_by_a_clock_is_a_timeout(reason: Any, clock: Any) -> None:
    expired = job(cancel_reason=reason)
    ending = worker(job=expired, killed=Reason("it did not stop"))
    seconds = 20.0 if clock == "stall" else 300.0
    assert ending.terminal_event(7, status(stack=STACK), LIMITS, expired) == RunTimedOut(
        7,
        clock,
        seconds,
        keeps_models=False,
        last_step="gen: denoise step 2/4",
        stack=STACK,
        stuck_at="gen: denoise step 2/4, in forward (unet.py:3)",
    )
    crashed = worker(job=expired).terminal_event(7, status(-11), LIMITS, expired)
    assert crashed.kind == "signal", "it died before the kill"


@pytest.mark.parametrize("reason", [None, "user", "leaving"])
def test_a_kill_by_no_clock_is_a_death(reason: Any) -> None:
    asked = job(cancel_reason=reason)
    ending = worker(job=asked, killed=Reason("it did not stop"))
    end = ending.terminal_event(7, status(), LIMITS, asked)
    assert end == Died(7, "killed", "it did not stop", 1001, last_step="gen: denoise step 2/4")


def test_a_timeout_that_stopped_by_itself() -> None:
    step = "gen: denoise step 2/4"
    end = timed_out(job(cancel_reason="deadline"), LIMITS, keeps_models=True)
    assert end == RunTimedOut(7, "deadline", 300.0, True, step, "", None)
    end = timed_out(job(cancel_reason="stall"), LIMITS, keeps_models=True)
    assert end == RunTimedOut(7, "stall", 20.0, True, step, "", None)


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("deadline", "not done after 300 s (timeout)"),
        ("stall", "no progress in 20 s (stall)"),
        *[("user", None), ("leaving", None), (None, None)],
    ],
)
def test_only_a_clock_is_a_cause(reason: Any, cause: str | None) -> None:
    assert clock_cause(job(cancel_reason=reason), LIMITS) == cause

"""Each request with exactly the actions that follow from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dw.errors import WorkerLost
from dw.events import (
    Cancel,
    CancelRequested,
    Checked,
    Clear,
    Cleared,
    Died,
    Event,
    Executing,
    Exited,
    GraceExpired,
    Launched,
    Launching,
    Loading,
    Prepared,
    Report,
    Reported,
    RunCancelled,
    RunTimedOut,
    Shutdown,
    Stepped,
    Stop,
    StopRequested,
)
from dw.worker.supervision.actions import Emit, Kill, QueryGpuMemory, Send, Spawn
from dw.worker.supervision.supervisor import Supervisor
from dw.worker.supervision.worker_state import State
from tests.worker.policies import (
    ALONE,
    CHECK,
    LIMITS,
    MEMORY,
    NEXT,
    PREPARE,
    RUN,
    done,
    gone,
    greeting,
    idle,
    ready,
    with_standby,
)

# ------------------------------------------------------------------ the start of a worker


def test_the_first_run_starts_a_worker_and_later_ones_find_it() -> None:
    policy = Supervisor(ALONE)
    assert policy.submit(RUN, 0.0) == [Emit(Launching(1)), Spawn(1), QueryGpuMemory()]
    assert policy.active.state is State.BOOTING
    assert not policy.active.was_standby
    assert policy.next_tick() == LIMITS.boot_s
    assert policy.event_received(1, greeting(1), 1.0) == [
        Emit(Launched(1, 1001, from_standby=False)),
        Send(1, RUN),
    ]
    assert (policy.active.pid, policy.active.heartbeat_at) == (1001, 1.0)
    assert policy.submit(NEXT, 2.0) == [], "it waits"
    assert policy.event_received(1, done(), 3.0) == [Emit(done()), Send(1, NEXT)]
    assert policy.event_received(1, done(2), 4.0) == [Emit(done(2))]
    assert policy.active.state is State.IDLE


def test_a_standby_takes_the_first_run_at_once_and_the_next_is_made_when_it_is_idle() -> None:
    policy = with_standby()
    assert policy.submit(RUN, 5.0) == [
        Emit(Launching(1)),
        QueryGpuMemory(),
        Emit(Launched(1, 1001, from_standby=True)),
        Send(1, RUN),
    ]
    assert policy.standby.worker is None
    assert policy.tick(6.0) == []
    policy.event_received(1, Executing(1, "w"), 6.0)
    assert policy.tick(7.0) == []
    policy.event_received(1, done(), 8.0)
    assert policy.next_tick() == 8.0 + LIMITS.standby_delay_s
    assert policy.tick(8.0 + LIMITS.standby_delay_s) == [Spawn(2, nice=10, is_spare=True)]
    assert policy.standby.worker.was_standby


def test_what_needs_no_models_goes_to_the_standby_first() -> None:
    policy = idle()
    assert policy.tick(2.0) == []
    policy.limit(LIMITS, 2.0)
    policy.tick(3.0)
    assert policy.submit(CHECK, 3.0) == [Send(1, CHECK)], "the standby boots"
    policy.event_received(2, greeting(2), 4.0)
    assert policy.submit(PREPARE, 5.0) == [Send(2, PREPARE)]
    assert policy.submit(replace(CHECK, run_id=5), 5.0) == [], "both are busy"
    assert policy.event_received(1, Checked(3, ()), 6.0) == [
        Emit(Checked(3, ())),
        Send(1, replace(CHECK, run_id=5)),
    ]
    assert policy.event_received(2, Prepared(4), 6.0) == [Emit(Prepared(4))]


def test_what_needs_no_models_starts_a_standby_where_there_is_no_process() -> None:
    policy = Supervisor(ALONE)
    assert policy.submit(CHECK, 0.0) == [Spawn(1)]
    assert policy.standby.worker.was_standby
    assert policy.submit(PREPARE, 0.0) == []
    assert policy.event_received(1, greeting(1), 1.0) == [Send(1, CHECK)]
    assert policy.event_received(1, Checked(3, ()), 2.0) == [
        Emit(Checked(3, ())),
        Send(1, PREPARE),
    ]


def test_no_background_job_is_announced_as_a_launch() -> None:
    policy = Supervisor(ALONE)
    policy.submit(CHECK, 0.0)
    policy.submit(RUN, 0.0)
    actions = policy.event_received(1, greeting(1), 1.0)
    assert Send(1, RUN) in actions
    assert Emit(Launched(1, 1001, from_standby=True)) in actions


def test_a_job_starts_its_clocks_when_it_is_assigned() -> None:
    policy = Supervisor(ALONE)
    policy.submit(RUN, 0.0)
    policy.event_received(1, greeting(1), 12.0)
    assert policy.next_tick() == 12.0 + LIMITS.stall_s


# ------------------------------------------------------------------ requests


def test_reports_are_answered_beside_the_job() -> None:
    policy = ready()
    assert policy.submit(Report(5), 2.0) == [Send(1, Report(5))]
    reported = Reported(5, MEMORY)
    assert policy.event_received(1, reported, 2.1) == [Emit(reported)]
    assert policy.event_received(1, reported, 2.2) == [], "once"
    assert policy.active.job.run_id == 1


def test_a_report_or_a_clear_needs_a_worker() -> None:
    policy = Supervisor(ALONE)
    for command in (Report(5), Clear(6)):
        with pytest.raises(WorkerLost) as lost:
            policy.submit(command, 0.0)
        assert str(lost.value) == "no worker is running"
        assert lost.value.hints == ("a worker starts with the first run",)
    policy.submit(RUN, 0.0)
    with pytest.raises(WorkerLost) as lost:
        policy.submit(Report(5), 0.5)
    assert str(lost.value) == "the worker is still starting"


def test_a_clear_waits_for_the_run_before_it() -> None:
    policy = ready()
    assert policy.submit(Clear(6), 2.0) == []
    assert policy.event_received(1, done(), 3.0) == [Emit(done()), Send(1, Clear(6))]
    cleared = Cleared(6, 0, MEMORY)
    assert policy.event_received(1, cleared, 4.0) == [Emit(cleared)]


def test_a_cancel_and_a_stop_may_come_as_commands() -> None:
    policy = ready()
    policy.event_received(1, Executing(1, "w"), 2.0)
    assert policy.submit(Stop(1), 2.5) == [Emit(StopRequested(1)), Send(1, Stop(1))]
    assert policy.submit(Cancel(1), 3.0) == [
        Emit(CancelRequested(1, "user", LIMITS.grace_s)),
        Send(1, Cancel(1)),
    ]
    assert policy.next_tick() == 3.0 + LIMITS.grace_s
    assert policy.submit(Cancel(1), 3.5) == []


def test_a_cancel_tells_what_was_measured() -> None:
    policy = ready()
    policy.event_received(1, Loading(1, "gen.unet", "UNet", 1, 1), 2.0)
    policy.event_received(1, Executing(1, "w"), 5.0)
    policy.event_received(1, Stepped(1, "gen", "denoise", 1, 9), 6.0)
    policy.event_received(1, Stepped(1, "gen", "denoise", 2, 9), 6.5)
    assert policy.stop(1) == [Emit(StopRequested(1, 0.5)), Send(1, Stop(1))]
    assert policy.cancel(1, 7.0)[0] == Emit(CancelRequested(1, "user", LIMITS.grace_s, 0.5, 3.0))
    assert policy.tick(9.0)[0] == Emit(GraceExpired(1, LIMITS.grace_s, 3.0))


def test_a_stop_is_over_with_its_step() -> None:
    policy = ready()
    policy.event_received(1, Executing(1, "w"), 2.0)
    assert policy.stop(1)
    assert policy.stop(7) == []
    assert policy.active.job.is_stopping


def test_a_waiting_run_is_cancelled_and_the_others_stay() -> None:
    policy = ready()
    policy.submit(NEXT, 2.0)
    policy.submit(replace(NEXT, run_id=3), 2.0)
    assert policy.cancel(2, 2.5) == [Emit(RunCancelled(2, 0, 0))]
    assert policy.cancel(2, 2.5) == []
    assert policy.event_received(1, done(), 3.0)[-1] == Send(1, replace(NEXT, run_id=3))


@pytest.mark.parametrize(
    ("event", "clock", "cause", "at"),
    [
        (Executing(1, "w"), "deadline", "not done after 5 s (timeout)", 7.0),
        (Loading(1, "gen", "X", 1, 1), "stall", "no progress in 20 s (stall)", 22.0),
    ],
)
def test_a_clock_cancels_with_its_cause_and_the_end_says_so(
    event: Event, clock: Any, cause: str, at: float
) -> None:
    policy = ready()
    policy.event_received(1, event, 2.0)
    assert policy.tick(at - 0.1) == []
    assert policy.tick(at) == [
        Emit(CancelRequested(1, clock, LIMITS.grace_s, cause=cause)),
        Send(1, Cancel(1, cause)),
    ]
    step = "loading gen (1 of 1)" if clock == "stall" else None
    after_s = 20.0 if clock == "stall" else 5.0
    assert policy.event_received(1, RunCancelled(1, 1, 4), at + 0.1) == [
        Emit(RunTimedOut(1, clock, after_s, keeps_models=True, last_step=step))
    ]
    assert policy.active.state is State.IDLE


def test_a_kill_without_a_worker_does_nothing_and_an_idle_one_needs_no_stack() -> None:
    assert Supervisor(ALONE).kill(1.0) == []
    policy = idle()
    assert policy.kill(3.0) == [Kill(1)]
    assert policy.active is None
    assert policy.next_tick() == 3.0 + LIMITS.exit_s
    policy = idle()
    policy.submit(Clear(6), 3.0)
    assert policy.kill(3.0) == [Kill(1)], "a clear has no stack of interest"


def test_a_shutdown_ends_an_idle_worker_and_waits_for_its_exit() -> None:
    policy = idle()
    assert policy.submit(Shutdown(9), 3.0) == [Send(1, Shutdown(9))]
    assert policy.active is None
    assert policy.next_tick() == 3.0 + LIMITS.shutdown_s
    assert policy.event_received(1, Exited(9), 3.1) == [], "its process counts"
    assert policy.exited(1, gone(0), 3.2) == [Emit(Exited(9))]
    assert policy.crashes.in_a_row == 0


def test_a_shutdown_kills_a_busy_worker_and_one_that_stays() -> None:
    policy = ready()
    assert policy.submit(Shutdown(9), 3.0) == [Kill(1)]
    ends = policy.exited(1, gone(), 3.1)
    assert ends == [Emit(Exited(9)), Emit(Died(1, "killed", "the worker was stopped", 1001))]
    policy = idle()
    policy.submit(Shutdown(9), 3.0)
    assert policy.tick(3.0 + LIMITS.shutdown_s) == [Kill(1)]
    assert policy.exited(1, gone(), 5.0) == [Emit(Exited(9))]
    policy = Supervisor(ALONE)
    policy.submit(RUN, 0.0)
    assert policy.submit(Shutdown(9), 1.0) == [Kill(1)], "it boots"


def test_a_shutdown_without_a_worker_is_done_at_once() -> None:
    assert Supervisor(ALONE).submit(Shutdown(9), 1.0) == [Emit(Exited(9))]


def test_a_run_after_a_shutdown_has_a_new_worker() -> None:
    policy = idle()
    policy.submit(Shutdown(9), 3.0)
    assert policy.submit(NEXT, 3.1) == [Emit(Launching(2)), Spawn(2), QueryGpuMemory()]


def test_the_standby_can_be_switched_off_and_on() -> None:
    policy = with_standby()
    assert policy.limit(ALONE, 2.0) == [Kill(1)]
    assert policy.limits is ALONE
    assert policy.exited(1, gone(), 2.1) == []
    assert policy.crashes.in_a_row == 0
    assert policy.tick(100.0) == []
    assert policy.limit(LIMITS, 101.0) == []
    assert policy.next_tick() == 101.0
    assert policy.tick(101.0) == [Spawn(2, nice=10, is_spare=True)]
    assert policy.limit(LIMITS, 102.0) == [], "there is one"


def test_new_limits_count_for_the_run_under_way() -> None:
    policy = ready()
    assert policy.next_tick() == 1.0 + LIMITS.stall_s
    policy.limit(replace(ALONE, stall_s=3.0), 2.0)
    assert policy.next_tick() == 4.0

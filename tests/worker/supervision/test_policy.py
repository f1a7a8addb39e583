"""Each request and each event with exactly the actions that follow from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dw.errors import WorkerLost
from dw.events import (
    VERSION,
    Cancel,
    CancelRequested,
    Check,
    Checked,
    Clear,
    Cleared,
    Died,
    Event,
    Executing,
    Exited,
    Failed,
    Finished,
    GraceExpired,
    Heartbeat,
    Launched,
    Launching,
    Loading,
    LogLine,
    Planned,
    Prepare,
    Prepared,
    Ready,
    Report,
    Reported,
    Run,
    RunCancelled,
    RunTimedOut,
    Shutdown,
    Stepped,
    Stop,
    StopRequested,
    Warned,
)
from dw.worker.process.exit_cause import ExitStatus
from dw.worker.supervision.actions import Emit, Kill, QueryGpuMemory, Send, Spawn
from dw.worker.supervision.gpu_memory_return import LIMIT_S, POLL_S
from dw.worker.supervision.supervisor import UNKILLABLE, Supervisor
from dw.worker.supervision.worker_state import NEVER, State
from tests.worker.policies import LIMITS, MEMORY, ready

ALONE = replace(LIMITS, standby=False)
RUN, NEXT = Run(1, "w", "{}", {}, "out"), Run(2, "w", "{}", {}, "out")
CHECK, PREPARE = Check(3, "w", "{}"), Prepare(4, "w", "{}")


def done(run_id: int = 1) -> Finished:
    return Finished(run_id, "w", 0.1, 0, (), MEMORY, "out")


def greeting(number: int, version: int = VERSION) -> Ready:
    return Ready(version, 1000 + number, 0.1)


def gone(code: int = -9, number: int = 1, **facts: Any) -> ExitStatus:
    return ExitStatus(1000 + number, code, **{"oom_killed": False, **facts})


def idle(limits: Any = LIMITS) -> Supervisor:
    """A policy without a standby whose worker has done run 1."""
    policy = ready(limits)
    policy.event_received(1, done(), 2.0)
    return policy


def with_standby() -> Supervisor:
    policy = Supervisor(LIMITS)
    assert policy.tick(0.0) == [Spawn(1, nice=0, is_spare=True)]
    assert policy.event_received(1, greeting(1), 1.0) == []
    return policy


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


# ------------------------------------------------------------------ events


def test_events_of_no_current_command_are_dropped() -> None:
    policy = ready()
    for event in (done(2), Executing(2, "w"), Reported(7, MEMORY), Exited(0)):
        assert policy.event_received(1, event, 2.0) == []
    assert policy.event_received(9, done(), 2.0) == [], "of no worker"
    assert policy.active.job.run_id == 1
    assert idle().event_received(1, Executing(1, "w"), 3.0) == [], "of a run that is over"


def test_an_event_of_the_run_is_passed_on_and_moves_its_clocks() -> None:
    policy = ready()
    planned = Planned(1, "first", (), (), ())
    assert policy.event_received(1, planned, 5.0) == [Emit(planned)]
    assert policy.next_tick() == 5.0 + LIMITS.stall_s


def test_a_heartbeat_is_kept_and_moves_no_clock() -> None:
    policy = ready()
    assert policy.event_received(1, Heartbeat(123), 5.0) == []
    assert (policy.active.heartbeat_at, policy.active.rss) == (5.0, 123)
    assert policy.next_tick() == 1.0 + LIMITS.stall_s


def test_lines_are_of_the_run_and_count_as_progress() -> None:
    policy = ready()
    assert policy.output_received(1, ["a", "b"], 6.0) == [
        Emit(LogLine(1, "a")),
        Emit(LogLine(1, "b")),
    ]
    assert policy.next_tick() == 6.0 + LIMITS.stall_s
    assert policy.output_received(1, [], 9.0) == []
    assert policy.next_tick() == 6.0 + LIMITS.stall_s
    assert policy.output_received(5, ["a"], 9.0) == []
    assert idle().output_received(1, ["a"], 9.0) == []


def test_who_sends_nonsense_is_killed_for_it_and_it_counts() -> None:
    policy = ready()
    assert policy.protocol_error(5, "nonsense", 2.0) == []
    assert policy.protocol_error(1, "nonsense", 2.0) == [Kill(1)]
    assert policy.protocol_error(1, "more", 2.0) == []
    assert policy.exited(1, gone(), 2.1) == [Emit(Died(1, "killed", "nonsense", 1001))]
    assert policy.crashes.in_a_row == 1


def test_a_closed_pipe_counts_once_and_of_a_known_worker() -> None:
    policy = ready()
    assert policy.event_pipe_closed(5, 2.0) == []
    assert policy.event_pipe_closed(1, 2.0) == []
    policy.event_pipe_closed(1, 9.0)
    assert policy.next_tick() == 2.0 + LIMITS.closed_pipe_s
    policy.tick(2.0 + LIMITS.closed_pipe_s)
    [end] = policy.exited(1, gone(), 5.0)
    assert end.event.cause == "it closed its event pipe and did not exit"


def test_a_mute_worker_without_a_job_is_killed_too() -> None:
    policy = idle()
    policy.event_pipe_closed(1, 3.0)
    assert policy.tick(3.0 + LIMITS.closed_pipe_s) == [Kill(1)]


def test_a_death_ends_the_run_and_the_next_one_has_another_worker() -> None:
    policy = ready()
    policy.event_received(1, Stepped(1, "gen", "denoise", 1, 4), 2.0)
    policy.submit(NEXT, 2.0)
    assert policy.exited(1, gone(-11), 2.1) == [
        Emit(Died(1, "signal", "killed by signal 11 (SIGSEGV)", 1001, "gen: denoise step 1/4")),
        Emit(Launching(2)),
        Spawn(2),
        QueryGpuMemory(),
    ]
    assert policy.exited(1, gone(-11), 2.2) == [], "it is known"
    assert policy.crashes.in_a_row == 1


def test_a_death_asks_for_another_standby_after_a_moment() -> None:
    policy = with_standby()
    policy.exited(1, gone(-11), 5.0)
    assert policy.next_tick() == 5.0 + LIMITS.standby_delay_s
    assert policy.tick(5.0 + LIMITS.standby_delay_s) == [Spawn(2, nice=10, is_spare=True)]


def test_a_boot_that_fails_ends_all_that_waited_for_it() -> None:
    policy = Supervisor(ALONE)
    policy.submit(RUN, 0.0)
    policy.submit(NEXT, 0.0)
    policy.submit(CHECK, 0.0)
    cause = "exited with code 3 before it was ready"
    assert policy.exited(1, gone(3, tail=("why",)), 1.0) == [
        Emit(Died(number, "boot", cause, 1001, tail=("why",))) for number in (1, 2, 3)
    ]
    assert policy.standby.trouble == "exited with code 3"
    assert policy.crashes.in_a_row == 1
    assert policy.next_tick() == NEVER


def test_a_standby_that_fails_to_boot_leaves_the_runs_to_the_worker() -> None:
    policy = ready()
    policy.limit(LIMITS, 1.0)
    policy.event_received(1, done(), 2.0)
    policy.tick(3.0)
    policy.submit(NEXT, 3.0)
    policy.submit(replace(NEXT, run_id=3), 3.0)
    policy.submit(CHECK, 3.0)
    assert policy.exited(2, gone(3, 2), 4.0) == [], "the active worker serves all of them"
    assert policy.event_received(1, done(2), 5.0) == [
        Emit(done(2)),
        Send(1, replace(NEXT, run_id=3)),
    ]


def test_a_worker_of_another_version_ends_all_that_waits() -> None:
    policy = Supervisor(ALONE)
    for command in (RUN, NEXT, CHECK):
        policy.submit(command, 0.0)
    *ends, kill = policy.event_received(1, greeting(1, VERSION + 1), 1.0)
    cause = (
        f"the worker speaks version {VERSION + 1} of the protocol and the shell version"
        f" {VERSION}: leave the shell and start it again"
    )
    assert ends == [Emit(Died(number, "version", cause, 1001)) for number in (1, 2, 3)]
    assert kill == Kill(1)
    assert policy.standby.trouble == cause
    assert policy.exited(1, gone(), 1.1) == []
    assert policy.submit(RUN, 2.0) == [Emit(Launching(1)), Spawn(2), QueryGpuMemory()]


def test_a_greeting_of_one_that_is_leaving_changes_nothing() -> None:
    policy = Supervisor(ALONE)
    policy.submit(RUN, 0.0)
    policy.kill(0.5)
    assert policy.event_received(1, greeting(1), 0.6) == []
    [end] = policy.exited(1, gone(), 0.7)[:1]
    assert isinstance(end, Emit | Spawn)


def test_a_worker_that_lives_ends_the_trouble_of_standbys() -> None:
    policy = Supervisor(LIMITS)
    policy.tick(0.0)
    policy.exited(1, gone(3), 1.0)
    assert policy.standby.trouble == "exited with code 3"
    policy.submit(RUN, 2.0)
    policy.event_received(2, greeting(2), 3.0)
    assert policy.standby.trouble is None


def test_a_poisoned_worker_is_killed_before_its_error_is_told() -> None:
    policy = ready()
    policy.submit(NEXT, 1.0)
    failed = Failed(1, "run", "illegal memory access", fatal=True)
    assert policy.event_received(1, failed, 2.0) == [
        Kill(1),
        Emit(failed),
        Emit(Launching(2)),
        Spawn(2),
        QueryGpuMemory(),
    ]
    assert policy._leaving[1].killed.kind == "poisoned"
    assert policy._leaving[1].killed.cause == "its CUDA context is beyond repair"
    survived = Failed(1, "run", "width 63")
    policy = ready()
    assert policy.event_received(1, survived, 2.0) == [Emit(survived)]
    assert policy.active.state is State.IDLE


def test_what_a_kill_does_not_end_is_given_up_with_its_commands() -> None:
    policy = ready()
    policy.submit(NEXT, 1.0)
    policy.kill(2.0)
    policy.tick(2.0 + LIMITS.stack_s)
    end = 2.0 + LIMITS.stack_s + LIMITS.exit_s
    assert policy.tick(end - 0.01) == []
    assert policy.tick(end) == [
        Emit(Died(1, "killed", "killed on request" + UNKILLABLE, 1001)),
        Emit(Launching(2)),
        Spawn(2),
        QueryGpuMemory(),
    ]
    assert policy.next_tick() == end + LIMITS.boot_s, "nothing waits for it any longer"
    assert UNKILLABLE.startswith("; its process does not end: it waits in the kernel")


def test_a_kill_of_the_user_has_its_own_cause() -> None:
    policy = ready()
    policy.event_received(1, Executing(1, "w"), 1.5)
    policy.cancel(1, 2.0)
    policy.kill(2.5)
    assert policy.tick(2.5 + LIMITS.stack_s) == [Kill(1)]
    [end] = policy.exited(1, gone(), 3.0)
    assert end.event.cause == "killed on request"


# ------------------------------------------------------------------ the memory of GPUs


def test_a_run_waits_for_the_memory_of_the_dead_worker_and_is_warned() -> None:
    policy = ready()
    assert policy.gpu_memory_measured({"gpu": 10 << 30}, 1.0) == []
    policy.submit(NEXT, 1.5)
    policy.exited(1, gone(-11), 2.0)
    assert policy.event_received(2, greeting(2), 2.1) == [], "the memory is not back"
    assert policy.next_tick() == 2.0
    assert policy.tick(2.2) == [QueryGpuMemory()]
    assert policy.gpu_memory_measured({"gpu": 1 << 30}, 2.25) == []
    assert policy.next_tick() == 2.2 + POLL_S
    actions = policy.tick(2.0 + LIMIT_S)
    assert actions[0] == Emit(Launched(2, 1002, from_standby=False))
    assert isinstance(actions[1].event, Warned)
    assert actions[1].event.run_id == 2
    assert actions[1].event.message.startswith("GPU memory is short of 9216 MB")
    assert actions[2] == Send(2, NEXT)


def test_a_run_goes_on_as_soon_as_the_memory_is_back() -> None:
    policy = ready()
    policy.gpu_memory_measured({"gpu": 10 << 30}, 1.0)
    policy.submit(NEXT, 1.5)
    policy.exited(1, gone(-11), 2.0)
    policy.event_received(2, greeting(2), 2.1)
    assert policy.gpu_memory_measured({"gpu": 10 << 30}, 2.5) == [
        Emit(Launched(2, 1002, from_standby=False)),
        Send(2, NEXT),
    ]


# ------------------------------------------------------------------ crashes in a row


def test_a_long_life_shows_no_restarts_and_a_short_one_all() -> None:
    policy = ready()
    assert policy.restarts_in_a_row(1.0) == 0
    policy.crashes.in_a_row = 3
    assert policy.restarts_in_a_row(LIMITS.stable_s - 0.1) == 3
    assert policy.restarts_in_a_row(LIMITS.stable_s) == 0
    booting = Supervisor(ALONE)
    booting.submit(RUN, 0.0)
    booting.crashes.in_a_row = 2
    assert booting.restarts_in_a_row(1000.0) == 2, "it is not ready"


def test_a_life_counts_from_its_start() -> None:
    policy = ready()
    policy.crashes.in_a_row = 4
    policy.exited(1, gone(-11), LIMITS.stable_s)
    assert policy.crashes.in_a_row == 1
    policy = ready()
    policy.crashes.in_a_row = 4
    policy.exited(1, gone(-11), LIMITS.stable_s - 0.1)
    assert policy.crashes.in_a_row == 5


def test_after_too_many_crashes_only_a_run_starts_a_process() -> None:
    policy = idle()
    policy.limit(LIMITS, 2.0)
    policy.crashes.in_a_row = LIMITS.restarts + 1
    assert policy.tick(100.0) == []
    assert policy.next_tick() == NEVER
    policy.kill(101.0)
    policy.exited(1, gone(), 101.1)
    assert policy.submit(NEXT, 102.0) == [Emit(Launching(2)), Spawn(2), QueryGpuMemory()]

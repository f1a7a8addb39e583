"""Each event of a worker with exactly the actions that follow from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dw.events import (
    VERSION,
    Clear,
    Died,
    Executing,
    Exited,
    Failed,
    Heartbeat,
    Launched,
    Launching,
    LogLine,
    Planned,
    Reported,
    Shutdown,
    Stepped,
    Warned,
)
from dw.worker.supervision.actions import Emit, Kill, QueryGpuMemory, Send, Spawn
from dw.worker.supervision.gpu_memory_return import LIMIT_S, POLL_S
from dw.worker.supervision.supervisor import UNKILLABLE, Supervisor
from dw.worker.supervision.worker_state import NEVER, State
from tests.worker.policies import (
    ALONE,
    CHECK,
    LIMITS,
    MEMORY,
    NEXT,
    RUN,
    done,
    gone,
    greeting,
    idle,
    ready,
    with_standby,
)

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


# ------------------------------------------------------------------ the end of what is killed


KILLS: dict[str, tuple[Any, int, str]] = {
    "a fault": (lambda policy: policy.protocol_error(1, "nonsense", 9.0), 1, "nonsense"),
    "a request": (lambda policy: policy.kill(9.0), 1, "killed on request"),
    "another version": (lambda policy: policy.event_received(1, greeting(1, 99), 9.0), 1, "the wo"),
    "a poisoned context": (
        lambda policy: policy.event_received(1, Failed(2, "run", "CUDA", fatal=True), 9.0),
        1,
        "its CUDA context is beyond repair",
    ),
    "the end": (lambda policy: policy.close(9.0), 1, "the shell is leaving"),
    "no standby": (lambda policy: policy.limit(ALONE, 9.0), 2, "the standby was switched off"),
    "a shutdown": (lambda policy: policy.submit(Shutdown(9), 9.0), 1, "the worker was stopped"),
}


@pytest.mark.parametrize("how", KILLS)
def test_each_kill_has_its_cause_and_its_clock_begins_with_it(how: str) -> None:
    kill, number, cause = KILLS[how]
    policy = idle()
    policy.limit(LIMITS, 3.0)
    policy.tick(3.0)
    policy.event_received(2, greeting(2), 4.0)
    policy.submit(Clear(2), 5.0)
    assert Kill(number) in kill(policy)
    assert policy._leaving[number].killed.cause.startswith(cause)
    assert policy._leaving[number].due(LIMITS) == 9.0 + LIMITS.exit_s


def test_a_standby_is_killed_for_the_end_with_its_cause() -> None:
    policy = with_standby()
    assert policy.close(9.0) == [Kill(1)]
    assert policy._leaving[1].killed.cause == "the shell is leaving"


def test_a_boot_that_takes_too_long_counts_as_a_crash_and_its_kill_has_a_clock() -> None:
    policy = Supervisor(ALONE)
    policy.submit(RUN, 0.0)
    policy.tick(LIMITS.boot_s)
    policy.tick(LIMITS.boot_s + LIMITS.stack_s)
    assert policy.next_tick() == LIMITS.boot_s + LIMITS.stack_s + LIMITS.exit_s
    policy.exited(1, gone(), 30.0)
    assert policy.standby.trouble == "it was not ready within 25 s"
    assert policy.crashes.in_a_row == 1


def test_a_worker_is_announced_once() -> None:
    policy = ready()
    policy.submit(NEXT, 1.0)
    assert policy.event_received(1, done(), 2.0) == [Emit(done()), Send(1, NEXT)]
    assert policy.active.announced

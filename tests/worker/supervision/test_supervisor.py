"""The policy alone, step by step: deadlines, stops, kills, boots and standbys."""

from dataclasses import replace

import pytest

from dw.events import (
    VERSION,
    Cancel,
    CancelRequested,
    Check,
    Clear,
    Died,
    Executing,
    Exited,
    Failed,
    Finished,
    GraceExpired,
    Loading,
    Prepare,
    Ready,
    Run,
    RunCancelled,
    Shutdown,
    Stop,
    StopRequested,
)
from dw.worker.process.exit_cause import ExitStatus
from dw.worker.supervision.actions import DumpStack, Emit, Kill, Send, Spawn
from dw.worker.supervision.command_state import Limits
from dw.worker.supervision.supervisor import Supervisor
from dw.worker.supervision.worker_state import State
from tests.worker.policies import LIMITS, MEMORY, ready


def test_the_deadline_stands_still_while_a_model_loads():
    policy = ready()
    policy.event_received(1, Executing(1, "w"), 10.0)
    policy.event_received(1, Loading(1, "refine.unet", "U", 1, 1), 12.0)
    policy.event_received(1, Executing(1, "w"), 30.0)
    assert policy.next_tick() == 33.0
    assert policy.tick(32.9) == []
    assert Send(1, Cancel(1, "not done after 5 s (timeout)")) in policy.tick(33.0)


def test_the_stall_limit_moves_with_every_sign_of_progress():
    policy = ready()
    policy.event_received(1, Loading(1, "gen.unet", "U", 1, 2), 15.0)
    policy.output_received(1, ["Downloading 3.1 of 6.9 GB"], 30.0)
    assert policy.next_tick() == 50.0


def test_a_user_who_cancels_a_load_does_not_lose_the_worker_while_it_moves():
    policy = ready()
    policy.event_received(1, Loading(1, "gen.unet", "U", 1, 2), 2.0)
    policy.cancel(1, 3.0)
    assert policy.tick(2.0 + LIMITS.stall_s - 0.1) == []


def test_the_grace_ends_in_a_kill():
    policy = ready()
    policy.event_received(1, Executing(1, "w"), 2.0)
    policy.cancel(1, 3.0)
    end = 3.0 + LIMITS.grace_s
    assert policy.tick(end) == [Emit(GraceExpired(1, LIMITS.grace_s)), DumpStack(1)]
    assert policy.next_tick() == end + LIMITS.stack_s
    assert policy.tick(end) == []
    assert policy.tick(end + LIMITS.stack_s) == [Kill(1)]


def test_a_kill_in_a_run_takes_the_stack_first_and_one_more_does_not_wait():
    policy = ready()
    assert policy.kill(2.0) == [DumpStack(1)]
    assert policy.next_tick() == 2.0 + LIMITS.stack_s
    assert policy.tick(policy.next_tick()) == [Kill(1)]
    died = policy.exited(1, ExitStatus(1001, -9, oom_killed=False, stack="..."), 2.2)[0].event
    assert died.cause == "killed on request"
    assert died.stuck_at is not None

    policy = ready()
    assert [*policy.kill(2.0), *policy.kill(2.0)] == [DumpStack(1), Kill(1)]


def test_a_run_that_ends_before_its_kill_is_spared():
    policy = ready()
    policy.kill(2.0)
    policy.event_received(1, Finished(1, "w", 0.0, 0, (), MEMORY, ""), 2.05)
    assert policy.tick(3.0) == []
    assert policy.active.state is State.IDLE


def test_a_run_that_stops_after_its_grace_but_before_the_kill_is_spared():
    policy = ready()
    policy.event_received(1, Executing(1, "w"), 2.0)
    policy.cancel(1, 3.0)
    policy.tick(3.0 + LIMITS.grace_s)
    assert Emit(RunCancelled(1, 1, 4)) in policy.event_received(1, RunCancelled(1, 1, 4), 5.0)
    assert policy.tick(60.0) == []
    assert policy.active.state is State.IDLE


def test_who_died_of_something_else_is_not_said_to_be_killed_by_us():
    policy = ready()
    policy.event_received(1, Executing(1, "w"), 2.0)
    policy.kill(3.0)
    (action,) = policy.exited(1, ExitStatus(1001, -11, oom_killed=False), 3.1)
    assert (action.event.kind, action.event.cause) == ("signal", "killed by signal 11 (SIGSEGV)")


def test_a_stop_is_sent_once_and_only_to_the_run_that_is_under_way():
    policy = ready()
    policy.submit(Run(2, "w", "{}", {}, "out"), 1.0)
    assert [policy.stop(run_id) for run_id in (2, 3)] == [[], []]
    assert policy.stop(1) == [Emit(StopRequested(1)), Send(1, Stop(1))]
    assert policy.stop(1) == []


def test_a_run_that_was_asked_to_stop_can_still_be_cancelled_but_not_the_other_way():
    policy = ready()
    policy.stop(1)
    assert Send(1, Cancel(1)) in policy.cancel(1, 2.0)
    assert policy.stop(1) == []


def test_a_boot_that_takes_too_long_is_looked_at_killed_and_told():
    policy = Supervisor(Limits(standby=False, boot_s=25.0))
    policy.submit(Run(1, "w", "{}", {}, "out"), 0.0)
    assert policy.tick(24.9) == []
    assert policy.tick(25.0) == [DumpStack(1)]
    assert policy.tick(25.1) == [Kill(1)]
    assert policy.submit(Run(2, "w", "{}", {}, "out"), 25.1) == []
    told = policy.exited(1, ExitStatus(1001, -9, oom_killed=False), 25.2)
    assert [action.event.kind for action in told] == ["boot", "boot"]
    assert "25 s" in told[0].event.cause


def test_a_mute_worker_that_dies_in_time_died_of_its_own_cause():
    policy = ready()
    policy.event_pipe_closed(1, 2.0)
    policy.event_pipe_closed(1, 3.0)
    assert policy.next_tick() == 2.0 + LIMITS.closed_pipe_s
    (action,) = policy.exited(1, ExitStatus(1001, 3, oom_killed=False), 3.9)
    assert action.event.cause == "exited with code 3"


def test_a_mute_worker_that_lives_on_is_killed_and_counts_as_a_crash():
    policy = ready()
    policy.event_pipe_closed(1, 2.0)
    assert policy.tick(2.0 + LIMITS.closed_pipe_s) == [Kill(1)]
    policy.exited(1, ExitStatus(1001, -9, oom_killed=False), 5.0)
    assert policy.crashes.in_a_row == 1


def test_what_cannot_be_killed_is_given_up_and_its_real_death_is_no_news():
    policy = ready()
    policy.kill(2.0)
    policy.kill(2.0)
    assert not policy.is_at_its_end
    (action,) = policy.tick(2.0 + LIMITS.exit_s)
    assert "waits in the kernel" in action.event.cause
    assert policy.is_at_its_end
    assert policy.exited(1, ExitStatus(1001, -9, oom_killed=False), 9.0) == []


def test_a_standby_that_failed_to_boot_is_not_made_again_until_a_worker_lives():
    policy = Supervisor(LIMITS)
    policy.tick(0.0)
    policy.exited(1, ExitStatus(1001, 1, oom_killed=False), 1.0)
    assert policy.tick(1000.0) == []
    policy.submit(Run(1, "w", "{}", {}, "out"), 1000.0)
    policy.event_received(2, Ready(VERSION, 1002, 0.1), 1001.0)
    policy.event_received(2, Finished(1, "w", 0.0, 0, (), MEMORY, ""), 1002.0)
    assert policy.tick(1002.0 + LIMITS.standby_delay_s) == [Spawn(3, nice=10, is_spare=True)]


def test_a_standby_of_another_version_is_not_made_again():
    policy = Supervisor(LIMITS)
    policy.tick(0.0)
    assert policy.event_received(1, Ready(VERSION + 1, 1001, 0.1), 1.0) == [Kill(1)]
    policy.exited(1, ExitStatus(1001, -9, oom_killed=False), 1.1)
    assert policy.tick(1000.0) == []


def test_a_boot_failure_is_not_repeated_but_the_next_run_tries_again():
    policy = Supervisor(Limits(standby=False))
    policy.submit(Run(1, "w", "{}", {}, "out"), 0.0)
    actions = policy.exited(1, ExitStatus(1001, 1, oom_killed=False), 1.0)
    assert [type(action) for action in actions] == [Emit]
    assert isinstance(actions[0].event, Died)
    assert Spawn(2) in policy.submit(Run(2, "w", "{}", {}, "out"), 2.0)


def crash_the_standby(policy, number, at):
    policy.event_received(number, Ready(VERSION, 1000 + number, 0.1), at)
    policy.exited(number, ExitStatus(1000 + number, -11, oom_killed=False), at + 0.1)
    return policy.tick(at + 0.1 + LIMITS.standby_delay_s)


def test_a_standby_that_keeps_crashing_is_made_five_times_in_a_row():
    policy = Supervisor(LIMITS)
    policy.tick(0.0)
    made = [crash_the_standby(policy, number, float(number)) for number in range(1, 7)]
    assert [bool(actions) for actions in made] == [True] * 5 + [False]


def test_a_stable_life_ends_the_row_of_restarts():
    policy = Supervisor(LIMITS)
    policy.tick(0.0)
    for number in range(1, 5):
        crash_the_standby(policy, number, float(number))
    crash_the_standby(policy, 5, 5.0 + LIMITS.stable_s)
    assert policy.crashes.in_a_row == 1


def test_a_worker_that_lives_long_enough_shows_no_restarts():
    policy = Supervisor(LIMITS)
    policy.tick(0.0)
    crash_the_standby(policy, 1, 1.0)
    policy.event_received(2, Ready(VERSION, 1002, 0.1), 2.0)
    assert policy.restarts_in_a_row(3.0) == 1
    assert policy.restarts_in_a_row(60.0) == 0


def test_a_poisoned_context_replaces_the_process():
    policy = ready()
    actions = policy.event_received(1, Failed(1, "run", "illegal memory access", fatal=True), 2.0)
    assert Kill(1) in actions
    assert policy.active is None


def test_the_state_table_refuses_what_cannot_be():
    policy = ready()
    policy.kill(2.0)
    policy.kill(2.0)
    worker = policy._leaving[1]
    with pytest.raises(AssertionError, match="worker 1 cannot go from"):
        worker.become(State.IDLE)


# ------------------------------------------------------------------ the end of the program


def executing(policy):
    policy.event_received(1, Executing(1, "w"), 2.0)
    return policy


def asked(cause, reason="leaving"):
    """What asks run 1 to stop because the program ends."""
    return [
        Emit(CancelRequested(1, reason, LIMITS.grace_s, cause=cause)),
        Send(1, Cancel(1, cause)),
    ]


def test_the_end_of_the_program_cancels_the_run_and_then_shuts_the_worker_down():
    policy = executing(ready())
    assert policy.close(3.0, "the terminal was closed") == asked("the terminal was closed")
    ended = policy.event_received(1, RunCancelled(1, 2, 4), 3.5)
    assert ended == [Emit(RunCancelled(1, 2, 4)), Send(1, Shutdown())]
    assert policy.exited(1, ExitStatus(1001, 0, oom_killed=False), 3.6) == [Emit(Exited(0))]
    assert policy.active is None
    assert policy.is_at_its_end


def test_a_run_that_does_not_hear_of_the_end_is_killed_after_its_grace():
    policy = executing(ready())
    policy.close(3.0)
    end = 3.0 + LIMITS.grace_s
    assert policy.next_tick() == end
    assert policy.tick(end) == [Emit(GraceExpired(1, LIMITS.grace_s)), DumpStack(1)]
    assert policy.tick(end + LIMITS.stack_s) == [Kill(1)]
    [died] = policy.exited(1, ExitStatus(1001, -9, oom_killed=False), end + 0.2)
    assert (died.event.kind, died.event.cause) == (
        "killed",
        f"it did not stop within {LIMITS.grace_s:g} s of being asked",
    )


def test_a_load_has_no_more_time_than_a_step_when_the_program_ends():
    policy = ready()
    policy.event_received(1, Loading(1, "gen.unet", "UNet", 1, 2), 2.0)
    policy.cancel(1, 3.0)
    assert policy.next_tick() == 2.0 + LIMITS.stall_s
    assert policy.close(4.0, "told to end") == asked("told to end")
    assert policy.next_tick() == 4.0 + LIMITS.grace_s
    assert policy.cancel(1, 5.0, "leaving", "told again") == [], "one is enough"
    assert policy.next_tick() == 4.0 + LIMITS.grace_s


def test_a_second_end_kills_the_run():
    policy = executing(ready())
    policy.close(3.0)
    assert policy.close(3.1) == [Kill(1)]
    assert policy.close(3.2) == []


def test_the_end_of_the_program_without_a_cause_has_one():
    assert executing(ready()).close(3.0) == asked("the shell is leaving")


def test_a_cancel_of_a_user_does_not_replace_the_end_of_the_program():
    policy = executing(ready())
    policy.cancel(1, 3.0, "leaving", "told to end")
    assert policy.cancel(1, 4.0) == []
    assert policy.next_tick() == 3.0 + LIMITS.grace_s


def test_a_run_that_still_waits_is_cancelled_without_a_worker():
    policy = Supervisor(replace(LIMITS, standby=False))
    policy.submit(Run(1, "w", "{}", {}, "out"), 0.0)
    assert policy.cancel(1, 1.0, "leaving", "told to end") == [Emit(RunCancelled(1, 0, 0))]
    assert policy.close(1.1) == [Kill(1)], "it boots, for nobody"


@pytest.mark.parametrize("command", [Clear(2), Check(2, "w", "{}"), Prepare(2, "w", "{}")])
def test_what_is_no_run_is_killed_at_the_end_of_the_program(command):
    policy = ready()
    policy.event_received(1, Finished(1, "w", 0.1, 0, (), MEMORY, "out"), 2.0)
    assert policy.submit(command, 3.0) == [Send(1, command)]
    assert policy.close(4.0) == [Kill(1)]
    assert policy.exited(1, ExitStatus(1001, -9, oom_killed=False), 4.1)[0].event.cause == (
        "the shell is leaving"
    )


def test_an_idle_worker_is_asked_to_leave_and_the_standby_is_killed():
    policy = ready()
    policy.event_received(1, Finished(1, "w", 0.1, 0, (), MEMORY, "out"), 2.0)
    policy.limit(LIMITS, 2.0)
    assert policy.tick(10.0) == [Spawn(2, nice=10, is_spare=True)]
    assert policy.close(11.0) == [Kill(2), Send(1, Shutdown())]
    assert not policy.is_at_its_end
    assert policy.tick(11.0 + LIMITS.shutdown_s) == [Kill(1)]
    assert policy.next_tick() > 11.0 + LIMITS.shutdown_s


def test_without_any_process_there_is_nothing_to_end():
    policy = Supervisor(LIMITS)
    assert policy.close(1.0) == []
    assert policy.tick(2.0) == []
    assert policy.is_at_its_end

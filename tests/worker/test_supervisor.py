"""The policy alone: no process, no clock, thousands of steps in any order."""

from collections import Counter, deque

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dw.errors import WorkerLost
from dw.report import Memory
from dw.worker.actions import Emit, Kill, Look, Measure, Send, Spawn
from dw.worker.autopsy import Death
from dw.worker.job import Limits
from dw.worker.life import State
from dw.worker.protocol import (
    TERMINAL,
    VERSION,
    Beat,
    Cancel,
    Cancelled,
    Check,
    Checked,
    Clear,
    Cleared,
    Departed,
    Died,
    Executing,
    Failed,
    Finished,
    GraceExpired,
    Greeted,
    Loading,
    Prepare,
    Prepared,
    Quit,
    Report,
    Reported,
    Run,
    Stepped,
    Stop,
    StopRequested,
    Warned,
)
from dw.worker.reclaim import PATIENCE_S, POLL_S, SLACK
from dw.worker.supervisor import Supervisor

MEMORY = Memory("CPU", 0, 0, 0, 0, 0)
LIMITS = Limits(
    stall_s=20.0, grace_s=2.0, quit_s=1.0, boot_s=25.0, mute_s=2.0, death_s=5.0, standby_delay_s=0.5
)


class Process:
    """What the operating system would keep of a worker."""

    def __init__(self):
        self.greeted = False
        self.killed = False
        self.inbox = deque()
        self.cancelled = set()


def terminal_of(command, cancelled):
    match command:
        case Run(run_id):
            if run_id in cancelled:
                return Cancelled(run_id, 1, 4)
            return Finished(run_id, "w", 0.0, 0, (), MEMORY, "")
        case Clear(run_id):
            return Cleared(run_id, 0, MEMORY)
        case Check(run_id):
            return Checked(run_id, ())
        case Prepare(run_id):
            return Prepared(run_id)


class Supervision(RuleBasedStateMachine):
    """The supervisor in a world of processes that do anything at any time."""

    @initialize(standby=st.booleans())
    def begin(self, standby):
        self.now = 0.0
        self.next_id = 1
        self.accepted = []
        self.ended = Counter()
        self.processes = {}
        self.policy = Supervisor(Limits(**{**_fields(LIMITS), "standby": standby}))
        self.do(self.policy.tick(self.now))

    def do(self, actions):
        for action in actions:
            match action:
                case Spawn(number):
                    assert number not in self.processes
                    self.processes[number] = Process()
                case Send(number, Cancel(run_id)):
                    if number in self.processes:
                        self.processes[number].cancelled.add(run_id)
                case Send(number, Stop(run_id)):
                    assert run_id in self.accepted
                case Look(number):
                    assert number in self.processes
                case Measure():
                    pass  # answered by the rule `measure`, or never
                case Send(number, Report(run_id)):
                    self.do(self.policy.heard(number, Reported(run_id, MEMORY), self.now))
                case Send(number, command):
                    if number in self.processes:
                        self.processes[number].inbox.append(command)
                case Kill(number):
                    self.processes[number].killed = True
                case Emit(event):
                    if isinstance(event, TERMINAL) and event.run_id:
                        self.ended[event.run_id] += 1

    def a_process(self, data, condition):
        numbers = sorted(n for n, process in self.processes.items() if condition(process))
        return data.draw(st.sampled_from(numbers)) if numbers else None

    # ---------------------------------------------------------- what the shell does

    @rule(kind=st.sampled_from([Run, Clear, Check, Prepare, Report, Quit]))
    def submit(self, kind):
        run_id, self.next_id = self.next_id, self.next_id + 1
        extra = {Run: ("w", "{}", {}, "out"), Check: ("w", "{}"), Prepare: ("w", "{}")}
        try:
            actions = self.policy.submit(kind(run_id, *extra.get(kind, ())), self.now, 5.0)
        except WorkerLost:
            assert kind in (Clear, Report)
        else:
            self.accepted.append(run_id)
            self.do(actions)

    @precondition(lambda self: self.accepted)
    @rule(data=st.data())
    def cancel(self, data):
        run_id = data.draw(st.sampled_from(self.accepted))
        self.do(self.policy.cancel(run_id, self.now))

    @precondition(lambda self: self.accepted)
    @rule(data=st.data())
    def stop(self, data):
        self.do(self.policy.stop(data.draw(st.sampled_from(self.accepted))))

    @rule()
    def kill(self):
        self.do(self.policy.kill(self.now))

    @rule(standby=st.booleans())
    def change_the_limits(self, standby):
        limits = Limits(**{**_fields(LIMITS), "standby": standby})
        self.do(self.policy.limit(limits, self.now))

    # ---------------------------------------------------------- what the world does

    @rule(data=st.data(), version=st.sampled_from([VERSION] * 9 + [VERSION + 1]))
    def greet(self, data, version):
        number = self.a_process(data, lambda process: not process.greeted)
        if number is not None:
            self.processes[number].greeted = True
            self.do(self.policy.heard(number, Greeted(version, 1000 + number, 0.1), self.now))

    @rule(data=st.data(), kind=st.sampled_from(["load", "execute", "step"]))
    def progress(self, data, kind):
        number = self.a_process(data, lambda process: process.inbox)
        if number is not None:
            run_id = self.processes[number].inbox[0].run_id
            event = {
                "load": Loading(run_id, "gen.vae", "V", 1, 1),
                "execute": Executing(run_id, "w"),
                "step": Stepped(run_id, "gen", "denoise", 1, 4),
            }[kind]
            self.do(self.policy.heard(number, event, self.now))

    @rule(data=st.data())
    def beat(self, data):
        number = self.a_process(data, lambda process: process.greeted)
        if number is not None:
            assert self.policy.heard(number, Beat(1), self.now) == []

    @rule(free=st.sampled_from([0, 8 << 30]))
    def measure(self, free):
        self.do(self.policy.measured({"GPU-1": free}, self.now))

    @rule(data=st.data(), babbles=st.booleans())
    def go_mad(self, data, babbles):
        number = self.a_process(data, lambda process: True)
        if number is not None and babbles:
            self.do(self.policy.babbled(number, "it sent nonsense", self.now))
        elif number is not None:
            self.do(self.policy.fell_mute(number, self.now))

    @rule(data=st.data(), fails=st.booleans(), twice=st.booleans(), fatal=st.booleans())
    def end_a_job(self, data, fails, twice, fatal):
        number = self.a_process(data, lambda process: process.inbox)
        if number is None:
            return None
        process = self.processes[number]
        command = process.inbox.popleft()
        if isinstance(command, Quit):
            self.do(self.policy.heard(number, Departed(command.run_id), self.now))
            return self.end(number, 0)
        event = terminal_of(command, process.cancelled)
        if fails:
            event = Failed(command.run_id, "run", "no", fatal=fatal)
        for _ in range(2 if twice else 1):
            self.do(self.policy.heard(number, event, self.now))
        return None

    @rule(data=st.data(), exit_code=st.sampled_from([-9, -11, 0, 1]))
    def die(self, data, exit_code):
        number = self.a_process(data, lambda process: True)
        if number is not None:
            self.end(number, exit_code)

    @rule(data=st.data())
    def the_killed_die(self, data):
        number = self.a_process(data, lambda process: process.killed)
        if number is not None:
            self.end(number, -9)

    @rule(seconds=st.sampled_from([0.1, 1.0, 3.0, 30.0]))
    def wait(self, seconds):
        self.now += seconds
        self.do(self.policy.tick(self.now))

    def end(self, number, exit_code):
        del self.processes[number]
        death = Death(1000 + number, exit_code, oom_killed=False)
        self.do(self.policy.died(number, death, self.now))

    # ---------------------------------------------------------- what must hold

    @invariant()
    def no_job_ends_twice(self):
        assert all(count == 1 for count in self.ended.values())

    @invariant()
    def no_job_ends_that_was_not_accepted(self):
        assert set(self.ended) <= set(self.accepted)

    @invariant()
    def one_worker_runs_at_most(self):
        running = [
            number
            for number, process in self.processes.items()
            if not process.killed and any(isinstance(c, Run) for c in process.inbox)
        ]
        assert len(running) <= 1

    @invariant()
    def each_worker_has_one_command_at_most(self):
        for process in self.processes.values():
            assert sum(not isinstance(command, Quit) for command in process.inbox) <= 1

    def teardown(self):
        """Everything that was accepted ends when the world goes on long enough."""
        if not hasattr(self, "policy"):
            return
        for _ in range(len(self.accepted) * 6 + 20):
            for number, process in list(self.processes.items()):
                if process.killed:
                    self.end(number, -9)
                elif not process.greeted:
                    process.greeted = True
                    event = Greeted(VERSION, 1000 + number, 0.1)
                    self.do(self.policy.heard(number, event, self.now))
                elif process.inbox:
                    self._finish(number, process)
            self.now += 0.1
            self.do(self.policy.tick(self.now))
        assert set(self.ended) == set(self.accepted)
        self.do(self.policy.close(self.now))
        self.now += LIMITS.quit_s
        self.do(self.policy.tick(self.now))
        assert all(process.killed for process in self.processes.values())

    def _finish(self, number, process):
        command = process.inbox.popleft()
        if isinstance(command, Quit):
            self.end(number, 0)
        else:
            event = terminal_of(command, process.cancelled)
            self.do(self.policy.heard(number, event, self.now))


TestSupervision = Supervision.TestCase
TestSupervision.settings = settings(
    max_examples=150, stateful_step_count=60, deadline=None, derandomize=True
)


def _fields(limits):
    return {name: getattr(limits, name) for name in limits.__slots__}


# ---------------------------------------------------------------- clocks, step by step


def ready(limits=LIMITS):
    """A policy without a standby whose worker has taken run 1."""
    policy = Supervisor(Limits(**{**_fields(limits), "standby": False}))
    policy.submit(Run(1, "w", "{}", {}, "out"), 0.0, timeout_s=5.0)
    policy.heard(1, Greeted(VERSION, 1001, 0.1), 1.0)
    return policy


def test_the_deadline_stands_still_while_a_model_loads():
    policy = ready()
    policy.heard(1, Executing(1, "w"), 10.0)
    policy.heard(1, Loading(1, "refine.unet", "U", 1, 1), 12.0)
    policy.heard(1, Executing(1, "w"), 30.0)
    assert policy.next_tick() == 33.0
    assert policy.tick(32.9) == []
    assert Send(1, Cancel(1)) in policy.tick(33.0)


def test_the_stall_limit_moves_with_every_sign_of_progress():
    policy = ready()
    policy.heard(1, Loading(1, "gen.unet", "U", 1, 2), 15.0)
    policy.said(1, ["Downloading 3.1 of 6.9 GB"], 30.0)
    assert policy.next_tick() == 50.0


def test_a_user_who_cancels_a_load_does_not_lose_the_worker_while_it_moves():
    policy = ready()
    policy.heard(1, Loading(1, "gen.unet", "U", 1, 2), 2.0)
    policy.cancel(1, 3.0)
    assert policy.tick(2.0 + LIMITS.stall_s - 0.1) == []


def test_the_grace_ends_in_a_kill():
    policy = ready()
    policy.heard(1, Executing(1, "w"), 2.0)
    policy.cancel(1, 3.0)
    end = 3.0 + LIMITS.grace_s
    assert policy.tick(end) == [Emit(GraceExpired(1, LIMITS.grace_s)), Look(1)]
    assert policy.next_tick() == end + LIMITS.last_look_s
    assert policy.tick(end) == []
    assert policy.tick(end + LIMITS.last_look_s) == [Kill(1)]


def test_a_kill_in_a_run_takes_the_stack_first_and_one_more_does_not_wait():
    policy = ready()
    assert policy.kill(2.0) == [Look(1)]
    assert policy.next_tick() == 2.0 + LIMITS.last_look_s
    assert policy.tick(policy.next_tick()) == [Kill(1)]
    died = policy.died(1, Death(1001, -9, oom_killed=False, stack="..."), 2.2)[0].event
    assert died.cause == "killed on request"
    assert died.stuck_at is not None

    policy = ready()
    assert [*policy.kill(2.0), *policy.kill(2.0)] == [Look(1), Kill(1)]


def test_a_run_that_ends_before_its_kill_is_spared():
    policy = ready()
    policy.kill(2.0)
    policy.heard(1, Finished(1, "w", 0.0, 0, (), MEMORY, ""), 2.05)
    assert policy.tick(3.0) == []
    assert policy.active.state is State.IDLE


# ---------------------------------------------------------------- the return of the memory

FREE, USED = {"GPU-1": 20 << 30}, {"GPU-1": 8 << 30}


def bereaved(now=2.0):
    """A policy whose worker has died with 12 GB of a GPU, and to whom run 2 was given."""
    policy = ready()
    policy.measured(FREE, 1.0)
    policy.died(1, Death(1001, -9, oom_killed=False), now)
    actions = policy.submit(Run(2, "w", "{}", {}, "out"), now, timeout_s=5.0)
    assert Measure() in policy.tick(policy.next_tick())
    policy.heard(2, Greeted(VERSION, 1002, 0.1), now)
    return policy, actions


def sent(actions):
    return [action.command.run_id for action in actions if isinstance(action, Send)]


def test_the_next_run_waits_until_the_memory_of_the_dead_has_come_back():
    policy, actions = bereaved()
    assert Spawn(2) in actions
    assert sent(policy.measured(USED, 2.0)) == []
    assert policy.next_tick() == 2.0 + POLL_S
    assert policy.tick(2.0 + POLL_S) == [Measure()]
    actions = policy.measured({"GPU-1": FREE["GPU-1"] - SLACK}, 2.4)
    assert sent(actions) == [2]
    assert not any(isinstance(a.event, Warned) for a in actions if isinstance(a, Emit))
    assert str(policy.reclaim.outcome).startswith("free again 0.4 s after")


@pytest.mark.parametrize(
    ("measure", "words"),
    [
        (USED, "short of 12288 MB 5.0 s after"),
        ({}, "unknown 5.0 s after"),
        (None, "unknown 5.0 s after"),
    ],
)
def test_no_run_waits_for_ever_and_it_is_told_what_is_missing(measure, words):
    policy, _ = bereaved()
    if measure is not None:
        policy.measured(measure, 2.0)
    actions = policy.tick(2.0 + PATIENCE_S)
    assert sent(actions) == [2]
    (warning,) = [a.event for a in actions if isinstance(a, Emit) and isinstance(a.event, Warned)]
    assert warning.run_id == 2
    assert words in warning.message


def test_where_there_is_no_gpu_nothing_is_waited_for():
    policy = ready()
    policy.measured({}, 1.0)
    policy.died(1, Death(1001, -9, oom_killed=False), 2.0)
    policy.submit(Run(2, "w", "{}", {}, "out"), 2.0)
    assert sent(policy.heard(2, Greeted(VERSION, 1002, 0.1), 2.0)) == [2]
    assert policy.reclaim.outcome is None


def test_a_run_that_stops_after_its_grace_but_before_the_kill_is_spared():
    policy = ready()
    policy.heard(1, Executing(1, "w"), 2.0)
    policy.cancel(1, 3.0)
    policy.tick(3.0 + LIMITS.grace_s)
    assert Emit(Cancelled(1, 1, 4)) in policy.heard(1, Cancelled(1, 1, 4), 5.0)
    assert policy.tick(60.0) == []
    assert policy.active.state is State.IDLE


def test_who_died_of_something_else_is_not_said_to_be_killed_by_us():
    policy = ready()
    policy.heard(1, Executing(1, "w"), 2.0)
    policy.kill(3.0)
    (action,) = policy.died(1, Death(1001, -11, oom_killed=False), 3.1)
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
    assert policy.tick(25.0) == [Look(1)]
    assert policy.tick(25.1) == [Kill(1)]
    assert policy.submit(Run(2, "w", "{}", {}, "out"), 25.1) == []
    told = policy.died(1, Death(1001, -9, oom_killed=False), 25.2)
    assert [action.event.kind for action in told] == ["boot", "boot"]
    assert "25 s" in told[0].event.cause


def test_a_mute_worker_that_dies_in_time_died_of_its_own_cause():
    policy = ready()
    policy.fell_mute(1, 2.0)
    policy.fell_mute(1, 3.0)
    assert policy.next_tick() == 2.0 + LIMITS.mute_s
    (action,) = policy.died(1, Death(1001, 3, oom_killed=False), 3.9)
    assert action.event.cause == "exited with code 3"


def test_a_mute_worker_that_lives_on_is_killed_and_counts_as_a_crash():
    policy = ready()
    policy.fell_mute(1, 2.0)
    assert policy.tick(2.0 + LIMITS.mute_s) == [Kill(1)]
    policy.died(1, Death(1001, -9, oom_killed=False), 5.0)
    assert policy.row.length == 1


def test_what_cannot_be_killed_is_given_up_and_its_real_death_is_no_news():
    policy = ready()
    policy.kill(2.0)
    policy.kill(2.0)
    assert not policy.is_at_its_end
    (action,) = policy.tick(2.0 + LIMITS.death_s)
    assert "waits in the kernel" in action.event.cause
    assert policy.is_at_its_end
    assert policy.died(1, Death(1001, -9, oom_killed=False), 9.0) == []


def test_a_standby_that_failed_to_boot_is_not_made_again_until_a_worker_lives():
    policy = Supervisor(LIMITS)
    policy.tick(0.0)
    policy.died(1, Death(1001, 1, oom_killed=False), 1.0)
    assert policy.tick(1000.0) == []
    policy.submit(Run(1, "w", "{}", {}, "out"), 1000.0)
    policy.heard(2, Greeted(VERSION, 1002, 0.1), 1001.0)
    policy.heard(2, Finished(1, "w", 0.0, 0, (), MEMORY, ""), 1002.0)
    assert policy.tick(1002.0 + LIMITS.standby_delay_s) == [Spawn(3, nice=10, is_spare=True)]


def test_a_standby_of_another_version_is_not_made_again():
    policy = Supervisor(LIMITS)
    policy.tick(0.0)
    assert policy.heard(1, Greeted(VERSION + 1, 1001, 0.1), 1.0) == [Kill(1)]
    policy.died(1, Death(1001, -9, oom_killed=False), 1.1)
    assert policy.tick(1000.0) == []


def test_a_boot_failure_is_not_repeated_but_the_next_run_tries_again():
    policy = Supervisor(Limits(standby=False))
    policy.submit(Run(1, "w", "{}", {}, "out"), 0.0)
    actions = policy.died(1, Death(1001, 1, oom_killed=False), 1.0)
    assert [type(action) for action in actions] == [Emit]
    assert isinstance(actions[0].event, Died)
    assert Spawn(2) in policy.submit(Run(2, "w", "{}", {}, "out"), 2.0)


def crash_the_standby(policy, number, at):
    policy.heard(number, Greeted(VERSION, 1000 + number, 0.1), at)
    policy.died(number, Death(1000 + number, -11, oom_killed=False), at + 0.1)
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
    assert policy.row.length == 1


def test_a_worker_that_lives_long_enough_shows_no_restarts():
    policy = Supervisor(LIMITS)
    policy.tick(0.0)
    crash_the_standby(policy, 1, 1.0)
    policy.heard(2, Greeted(VERSION, 1002, 0.1), 2.0)
    assert policy.restarts_in_a_row(3.0) == 1
    assert policy.restarts_in_a_row(60.0) == 0


def test_a_poisoned_context_replaces_the_process():
    policy = ready()
    actions = policy.heard(1, Failed(1, "run", "illegal memory access", fatal=True), 2.0)
    assert Kill(1) in actions
    assert policy.active is None


def test_the_state_table_refuses_what_cannot_be():
    policy = ready()
    policy.kill(2.0)
    policy.kill(2.0)
    worker = policy._leaving[1]
    with pytest.raises(AssertionError, match="worker 1 cannot go from"):
        worker.become(State.IDLE)

"""The policy alone: no process, no clock, thousands of steps in any order."""

from collections import Counter, deque
from dataclasses import replace

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dw.errors import WorkerLost
from dw.events import (
    TERMINAL,
    VERSION,
    Cancel,
    Check,
    Checked,
    Clear,
    Cleared,
    Executing,
    Exited,
    Failed,
    Finished,
    Heartbeat,
    Loading,
    Prepare,
    Prepared,
    Ready,
    Report,
    Reported,
    Run,
    RunCancelled,
    Shutdown,
    Stepped,
    Stop,
)
from dw.worker.process.exit_cause import ExitStatus
from dw.worker.supervision.actions import DumpStack, Emit, Kill, QueryGpuMemory, Send, Spawn
from dw.worker.supervision.gpu_memory_return import LIMIT_S
from dw.worker.supervision.supervisor import Supervisor
from tests.worker.policies import LIMITS, MEMORY


class Process:
    """What the operating system would keep of a worker."""

    def __init__(self):
        self.is_ready = False
        self.killed = False
        self.event_reader = deque()
        self.cancelled = set()


def terminal_of(command, cancelled):
    match command:
        case Run(run_id):
            if run_id in cancelled:
                return RunCancelled(run_id, 1, 4)
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
        self.has_ended = Counter()
        self.processes = {}
        self.policy = Supervisor(replace(LIMITS, standby=standby))
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
                case DumpStack(number):
                    assert number in self.processes
                case QueryGpuMemory():
                    pass  # answered by the rule `measure`, or never
                case Send(number, Report(run_id)):
                    self.do(self.policy.event_received(number, Reported(run_id, MEMORY), self.now))
                case Send(number, command):
                    if number in self.processes:
                        self.processes[number].event_reader.append(command)
                case Kill(number):
                    self.processes[number].killed = True
                case Emit(event):
                    if isinstance(event, TERMINAL) and event.run_id:
                        self.has_ended[event.run_id] += 1

    def a_process(self, data, condition):
        numbers = sorted(n for n, process in self.processes.items() if condition(process))
        return data.draw(st.sampled_from(numbers)) if numbers else None

    # ---------------------------------------------------------- what the shell does

    @rule(kind=st.sampled_from([Run, Clear, Check, Prepare, Report, Shutdown]))
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
        limits = replace(LIMITS, standby=standby)
        self.do(self.policy.limit(limits, self.now))

    # ---------------------------------------------------------- what the world does

    @rule(data=st.data(), version=st.sampled_from([VERSION] * 9 + [VERSION + 1]))
    def greet(self, data, version):
        number = self.a_process(data, lambda process: not process.is_ready)
        if number is not None:
            self.processes[number].is_ready = True
            self.do(
                self.policy.event_received(number, Ready(version, 1000 + number, 0.1), self.now)
            )

    @rule(data=st.data(), kind=st.sampled_from(["load", "execute", "step"]))
    def progress(self, data, kind):
        number = self.a_process(data, lambda process: process.event_reader)
        if number is not None:
            run_id = self.processes[number].event_reader[0].run_id
            event = {
                "load": Loading(run_id, "gen.vae", "V", 1, 1),
                "execute": Executing(run_id, "w"),
                "step": Stepped(run_id, "gen", "denoise", 1, 4),
            }[kind]
            self.do(self.policy.event_received(number, event, self.now))

    @rule(data=st.data())
    def beat(self, data):
        number = self.a_process(data, lambda process: process.is_ready)
        if number is not None:
            assert self.policy.event_received(number, Heartbeat(1), self.now) == []

    @rule(free=st.sampled_from([0, 8 << 30]))
    def measure(self, free):
        self.do(self.policy.gpu_memory_measured({"GPU-1": free}, self.now))

    @rule(data=st.data(), babbles=st.booleans())
    def go_mad(self, data, babbles):
        number = self.a_process(data, lambda process: True)
        if number is not None and babbles:
            self.do(self.policy.protocol_error(number, "it sent nonsense", self.now))
        elif number is not None:
            self.do(self.policy.event_pipe_closed(number, self.now))

    @rule(data=st.data(), fails=st.booleans(), twice=st.booleans(), fatal=st.booleans())
    def end_a_job(self, data, fails, twice, fatal):
        number = self.a_process(data, lambda process: process.event_reader)
        if number is None:
            return None
        process = self.processes[number]
        command = process.event_reader.popleft()
        if isinstance(command, Shutdown):
            self.do(self.policy.event_received(number, Exited(command.run_id), self.now))
            return self.end(number, 0)
        event = terminal_of(command, process.cancelled)
        if fails:
            event = Failed(command.run_id, "run", "no", fatal=fatal)
        for _ in range(2 if twice else 1):
            self.do(self.policy.event_received(number, event, self.now))
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
        exit_status = ExitStatus(1000 + number, exit_code, oom_killed=False)
        self.do(self.policy.exited(number, exit_status, self.now))

    # ---------------------------------------------------------- what must hold

    @invariant()
    def no_job_ends_twice(self):
        assert all(count == 1 for count in self.has_ended.values())

    @invariant()
    def no_job_ends_that_was_not_accepted(self):
        assert set(self.has_ended) <= set(self.accepted)

    @invariant()
    def one_worker_runs_at_most(self):
        running = [
            number
            for number, process in self.processes.items()
            if not process.killed and any(isinstance(c, Run) for c in process.event_reader)
        ]
        assert len(running) <= 1

    @invariant()
    def each_worker_has_one_command_at_most(self):
        for process in self.processes.values():
            assert sum(not isinstance(command, Shutdown) for command in process.event_reader) <= 1

    def teardown(self):
        """Everything that was accepted ends when the world goes on long enough."""
        if not hasattr(self, "policy"):
            return
        rounds = len(self.accepted) * 6 + 20 + round(LIMIT_S / 0.1)
        for _ in range(rounds):
            for number, process in list(self.processes.items()):
                if process.killed:
                    self.end(number, -9)
                elif not process.is_ready:
                    process.is_ready = True
                    event = Ready(VERSION, 1000 + number, 0.1)
                    self.do(self.policy.event_received(number, event, self.now))
                elif process.event_reader:
                    self._finish(number, process)
            self.now += 0.1
            self.do(self.policy.tick(self.now))
        assert set(self.has_ended) == set(self.accepted)
        self.do(self.policy.close(self.now))
        self.now += LIMITS.shutdown_s
        self.do(self.policy.tick(self.now))
        assert all(process.killed for process in self.processes.values())

    def _finish(self, number, process):
        command = process.event_reader.popleft()
        if isinstance(command, Shutdown):
            self.end(number, 0)
        else:
            event = terminal_of(command, process.cancelled)
            self.do(self.policy.event_received(number, event, self.now))


TestSupervision = Supervision.TestCase
TestSupervision.settings = settings(
    max_examples=150, stateful_step_count=60, deadline=None, derandomize=True
)

"""Does what a worker should, in milliseconds. The children with a fault inherit from it."""

import os
import threading
import time
from pathlib import Path
from queue import SimpleQueue

from dw.codec import from_bytes, to_bytes
from dw.events import (
    VERSION,
    Cancel,
    Check,
    Checked,
    Clear,
    Cleared,
    Executing,
    Exited,
    Finished,
    Heartbeat,
    Loaded,
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
from dw.types import Memory
from dw.worker.process.output import DRAINED

STEP_S = 0.02
BEAT_S = 0.05
NOTHING = Memory("CPU", 0, 0, 0, 0, 0)


class Obedient:
    steps = 4

    def __init__(self, commands, events):
        self.commands, self.events = commands, events
        self.work = SimpleQueue()
        self.cancelled, self.stopped = set(), set()
        self.sending = threading.Lock()

    def serve(self):
        self.boot()
        from_bytes(to_bytes(Report(0)))  # imports pydantic, before any clock of a run goes
        threading.Thread(target=self.listen, daemon=True).start()
        self.send(Ready(VERSION, os.getpid(), 0.0))
        threading.Thread(target=self.beat, daemon=True).start()
        while True:
            self.answer(self.work.get())

    def listen(self):
        try:
            while True:
                match from_bytes(self.commands.recv_bytes()):
                    case Cancel(run_id):
                        self.cancelled.add(run_id)
                    case Stop(run_id):
                        self.stopped.add(run_id)
                    case Report(run_id):
                        self.send(Reported(run_id, NOTHING))
                    case Shutdown(run_id):
                        self.finish(Exited(run_id))
                        os._exit(0)
                    case command:
                        self.work.put(command)
        except EOFError:
            os._exit(0)

    def beat(self):
        while True:
            self.send(Heartbeat(64 << 20))
            time.sleep(BEAT_S)

    def answer(self, command):
        match command:
            case Run():
                self.finish(self.run(command))
            case Clear(run_id):
                self.finish(Cleared(run_id, 0, NOTHING))
            case Check(run_id):
                self.finish(Checked(run_id, ()))
            case Prepare(run_id):
                self.finish(Prepared(run_id))

    def run(self, command):
        self.send(Loading(command.run_id, "gen.vae", "AutoencoderKL", 1, 1))
        self.load(command)
        self.send(Loaded(command.run_id, "w", 0.0))
        self.send(Executing(command.run_id, "w"))
        steps = command.arguments.get("steps", self.steps)
        for step in range(1, steps + 1):
            self.step(step)
            self.send(Stepped(command.run_id, "gen", "denoise", step, steps))
            if command.run_id in self.cancelled:
                return RunCancelled(command.run_id, step, steps)
            if command.run_id in self.stopped:
                break
        return Finished(command.run_id, "w", 0.0, 0, (), NOTHING, str(Path.cwd()))

    def boot(self):
        pass

    def load(self, command):
        pass

    def step(self, number):
        time.sleep(STEP_S)

    def send(self, event):
        with self.sending:
            self.events.send_bytes(to_bytes(event))

    def finish(self, event):
        os.write(1, DRAINED)
        self.send(event)


def serve(commands, events):
    Obedient(commands, events).serve()

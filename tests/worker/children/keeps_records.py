"""Obedient, with the record of a real worker, and held in one phase until it is cancelled.

`DW_HELD` is that phase: booting, loading, denoising, saving; `deaf` denoises and hears no cancel,
beside a process of its own. The file `held` tells a test that it is there.
"""

import os
import subprocess
import time
from pathlib import Path

from dw import run_record
from dw.codec import from_bytes
from dw.events import Cancel, Exited, RunCancelled, Shutdown, Started
from tests.worker.children.obedient import Obedient

HELD = os.environ.get("DW_HELD", "")
PHASES = ("booting", "loading", "denoising", "saving", "deaf")


class Stopped(Exception):
    pass


class KeepsRecords(Obedient):
    causes: dict[int, str | None] = {}  # noqa: RUF012
    run_id = 0

    def boot(self):
        self.hold("booting")

    def listen(self):
        try:
            while True:
                match from_bytes(self.commands.recv_bytes()):
                    case Cancel(run_id, cause):
                        self.causes[run_id] = cause
                    case Shutdown(run_id):
                        self.finish(Exited(run_id))
                        os._exit(0)
                    case command:
                        self.work.put(command)
        except EOFError:
            os._exit(0)

    def run(self, command):
        self.run_id = command.run_id
        parent = Path(command.output_dir, "w")
        folder = parent / f"{len(list(parent.glob('*'))) + 1:04d}"
        folder.mkdir(parents=True)
        facts = {"started": run_record.now(), "pid": os.getpid(), "host": os.uname().nodename}
        run_record.write(folder, {**facts, "state": "running"})
        self.send(Started(command.run_id, "w", 7, str(folder)))
        try:
            return super().run(command)
        except Stopped:
            cause = self.causes[command.run_id]
            end = f"cancelled after step 1 of 4: {cause}" if cause else "cancelled"
            run_record.write(folder, {**facts, "state": "cancelled", "cause": end})
            return RunCancelled(command.run_id, 1, 4)

    def load(self, command):
        self.hold("loading")

    def step(self, number):
        if number == 2:
            self.hold("denoising", "deaf")
        if number == 4:
            self.hold("saving")
        if self.run_id in self.causes:
            raise Stopped
        super().step(number)

    def hold(self, *phases):
        if HELD not in phases:
            return
        if HELD == "deaf":
            Path("child").write_text(str(subprocess.Popen(["sleep", "1000"]).pid))
        Path("held").touch()
        while HELD in ("deaf", "booting") or self.run_id not in self.causes:
            time.sleep(0.005)
        raise Stopped


def serve(commands, events):
    KeepsRecords(commands, events).serve()

"""`dw runpod` on a worker in memory: the prompt says what a run does."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

from dw import events
from dw.events import Command, Event, Prepare, Prepared, Run, Started
from dw.runpod.program import main
from tests.jobs.test_queue import DIES, FakePool, hang, writes
from tests.repl.fake import Answer, FakeClient, ending_with

BREAKS = ending_with(lambda n: events.Failed(n, "run", "it broke", trace="Traceback (secret)"))
SLOW_S = 1.0
BOOT_DIES = "--boot-dies" in sys.argv


def slow(client: FakeClient, run: Run) -> Iterator[Event]:
    time.sleep(SLOW_S)
    yield from writes(_folder(run))(client, run)


def _folder(run: Run) -> Path:
    folder = Path(run.output_dir) / str(run.run_id)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Scripted(FakeClient):
    def _answer(self, command: Command) -> Iterator[Event]:
        match command:
            case Run():
                prompt = command.arguments["prompt"]
                answers: dict[str, Answer] = {
                    "breaks": BREAKS,
                    "dies": DIES,
                    "hangs": hang,
                    "slow": slow,
                    "large": writes(_folder(command), b"x" * 8_000_000),
                }
                yield Started(command.run_id, "headshot", 1, str(_folder(command)))
                yield from answers.get(prompt, writes(_folder(command)))(self, command)
            case Prepare() if BOOT_DIES:
                yield events.Died(command.run_id, "boot", "no torch", 7)
            case Prepare():
                yield Prepared(command.run_id)


class Pool(FakePool):
    def __init__(self, *_: object) -> None:
        super().__init__()
        self.slots = [type(slot)(slot.name, slot.device, Scripted()) for slot in self.slots]


if __name__ == "__main__":
    with mock.patch("dw.jobs.pool.LocalPool", Pool):
        sys.exit(main([word for word in sys.argv[1:] if word != "--boot-dies"]))

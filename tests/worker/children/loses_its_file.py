"""Computes with weights that are a mapped file, which somebody saves anew in mid-run."""

import mmap
from pathlib import Path

from dw.events import Mapped
from dw.types import FileState
from tests.worker.children.obedient import Obedient


class LosesItsFile(Obedient):
    def load(self, command):
        self.path = Path(command.arguments["file"])
        self.send(Mapped(command.run_id, (FileState.of(self.path),)))
        with self.path.open("rb") as file:
            self.weights = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)

    def step(self, number):
        if number == 2:
            self.path.open("wb").close()
        self.weights[0]


def serve(commands, events):
    LosesItsFile(commands, events).serve()

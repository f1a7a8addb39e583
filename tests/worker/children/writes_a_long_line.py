import os

from tests.worker.children.obedient import Obedient


class WritesALongLine(Obedient):
    def step(self, number):
        rest = b"x" * (10 << 20)
        while rest:
            rest = rest[os.write(1, rest) :]


def serve(commands, events):
    WritesALongLine(commands, events).serve()

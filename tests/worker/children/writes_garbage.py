import os

from tests.worker.children.obedient import Obedient


class WritesGarbage(Obedient):
    """Its first four bytes promise a message of 2 GB."""

    def step(self, number):
        with self.sending:
            os.write(self.events.fileno(), b"\x7f\xff\xff\xff garbage")


def serve(commands, events):
    WritesGarbage(commands, events).serve()

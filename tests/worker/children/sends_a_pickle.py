import os

from tests.worker.children.obedient import Obedient


class SendsAPickle(Obedient):
    def step(self, number):
        with self.sending:
            self.events.send(Bomb())


class Bomb:
    """Makes a folder, named by the environment, in the process that unpickles it."""

    def __reduce__(self):
        return os.mkdir, (os.environ["BOMB"],)


def serve(commands, events):
    SendsAPickle(commands, events).serve()

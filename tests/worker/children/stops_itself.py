import os
import signal

from tests.worker.children.obedient import Obedient


class StopsItself(Obedient):
    def step(self, number):
        os.kill(os.getpid(), signal.SIGSTOP)


def serve(commands, events):
    StopsItself(commands, events).serve()

import os
import signal

from tests.worker.children.obedient import Obedient


class KillsItself(Obedient):
    def step(self, number):
        if number == 3:
            os.write(2, b"the last words\n")
            os.kill(os.getpid(), signal.SIGKILL)


def serve(commands, events):
    KillsItself(commands, events).serve()

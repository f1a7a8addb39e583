import os
import signal

from tests.worker.children.obedient import Obedient


class DiesInLoad(Obedient):
    def load(self, command):
        os.kill(os.getpid(), signal.SIGKILL)


def serve(commands, events):
    DiesInLoad(commands, events).serve()

import os
import signal

from tests.worker.children.obedient import Obedient


class StopsInMidMessage(Obedient):
    def step(self, number):
        with self.sending:
            os.write(self.events.fileno(), b"\x00\x00\x10\x00 the rest is never sent")
            os.kill(os.getpid(), signal.SIGSTOP)


def serve(commands, events):
    StopsInMidMessage(commands, events).serve()

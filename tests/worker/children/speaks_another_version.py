import os

from dw.events import VERSION, Ready
from tests.worker.children.obedient import Obedient


class SpeaksAnotherVersion(Obedient):
    def send(self, event):
        if isinstance(event, Ready):
            event = Ready(VERSION + 1, os.getpid(), 0.0)
        super().send(event)


def serve(commands, events):
    SpeaksAnotherVersion(commands, events).serve()

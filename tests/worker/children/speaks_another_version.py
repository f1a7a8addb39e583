import os

from dw.events import VERSION, Greeted
from tests.worker.children.obedient import Obedient


class SpeaksAnotherVersion(Obedient):
    def send(self, event):
        if isinstance(event, Greeted):
            event = Greeted(VERSION + 1, os.getpid(), 0.0)
        super().send(event)


def serve(commands, events):
    SpeaksAnotherVersion(commands, events).serve()

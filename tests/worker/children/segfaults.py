import ctypes

from tests.worker.children.obedient import Obedient


class Segfaults(Obedient):
    def step(self, number):
        ctypes.string_at(0)


def serve(commands, events):
    Segfaults(commands, events).serve()

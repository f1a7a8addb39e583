import ctypes

from tests.worker.children.obedient import Obedient


class HoldsTheGil(Obedient):
    def step(self, number):
        ctypes.PyDLL(None).sleep(60)  # PyDLL, unlike CDLL, keeps the GIL during the call


def serve(commands, events):
    HoldsTheGil(commands, events).serve()

import ctypes

from tests.worker.children.obedient import Obedient


class HoldsTheGil(Obedient):
    def step(self, number):
        libc = ctypes.PyDLL(None)  # unlike CDLL, it keeps the GIL during a call
        mutex = ctypes.create_string_buffer(64)
        libc.pthread_mutex_lock(mutex)
        libc.pthread_mutex_lock(mutex)  # for ever; a sleep would be ended by the first signal


def serve(commands, events):
    HoldsTheGil(commands, events).serve()

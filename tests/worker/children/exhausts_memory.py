import resource

from dw.worker.child.failure import failed
from tests.worker.children.obedient import Obedient


class ExhaustsMemory(Obedient):
    """It ends a run as dw/worker/serve.py does."""

    def answer(self, command):
        try:
            super().answer(command)
        except MemoryError as error:
            self.finish(failed(command.run_id, error))

    def step(self, number):
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, resource.RLIM_INFINITY))
        bytearray(4 << 30)


def serve(commands, events):
    ExhaustsMemory(commands, events).serve()

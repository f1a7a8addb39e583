import time

from tests.worker.children.obedient import Obedient


class BootsSlowly(Obedient):
    def boot(self):
        time.sleep(0.5)


def serve(commands, events):
    BootsSlowly(commands, events).serve()

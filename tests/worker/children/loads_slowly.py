import time

from tests.worker.children.obedient import Obedient


class LoadsSlowly(Obedient):
    def load(self, command):
        time.sleep(60)


def serve(commands, events):
    LoadsSlowly(commands, events).serve()

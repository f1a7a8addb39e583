import time

from tests.worker.children.obedient import Obedient


class ClosesItsEvents(Obedient):
    """It goes on without being heard."""

    def step(self, number):
        with self.sending:
            self.events.close()
            time.sleep(60)


def serve(commands, events):
    ClosesItsEvents(commands, events).serve()

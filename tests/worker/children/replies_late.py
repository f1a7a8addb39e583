from dw.events import Stepped
from tests.worker.children.obedient import Obedient


class RepliesLate(Obedient):
    """What ended a run is sent once more in the midst of the next one."""

    late = ()

    def step(self, number):
        super().step(number)
        for event in self.late:
            self.send(event)
        self.late = ()

    def finish(self, event):
        super().finish(event)
        self.late = (Stepped(event.run_id, "gen", "denoise", 4, 4), event)


def serve(commands, events):
    RepliesLate(commands, events).serve()

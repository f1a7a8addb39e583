from dw.events import Started
from tests.worker.children.obedient import Obedient


class TakesUpRuns(Obedient):
    """Obedient, and says which folder a run has: its argument `folder`."""

    def load(self, command):
        self.send(Started(command.run_id, "w", 7, command.arguments["folder"]))


def serve(commands, events):
    TakesUpRuns(commands, events).serve()

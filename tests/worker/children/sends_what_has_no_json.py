from dw.events import Stepped
from tests.worker.children.obedient import Obedient


class SendsWhatHasNoJson(Obedient):
    def step(self, number):
        self.send(Stepped(1, "gen", "denoise", object(), 4))


def serve(commands, events):
    SendsWhatHasNoJson(commands, events).serve()

from tests.worker.children.obedient import Obedient


class SendsNoEvent(Obedient):
    def step(self, number):
        self.send("done")


def serve(commands, events):
    SendsNoEvent(commands, events).serve()

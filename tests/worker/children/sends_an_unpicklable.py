from tests.worker.children.obedient import Obedient


class SendsAnUnpicklable(Obedient):
    def step(self, number):
        self.send(lambda: None)


def serve(commands, events):
    SendsAnUnpicklable(commands, events).serve()

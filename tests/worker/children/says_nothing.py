from tests.worker.children.obedient import Obedient


class SaysNothing(Obedient):
    def answer(self, command):
        pass


def serve(commands, events):
    SaysNothing(commands, events).serve()

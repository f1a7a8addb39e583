from tests.worker.children.obedient import Obedient


class DeafEar(set):
    def add(self, run_id):
        pass


class IgnoresCancel(Obedient):
    steps = 10_000

    def boot(self):
        self.cancelled = DeafEar()


def serve(commands, events):
    IgnoresCancel(commands, events).serve()

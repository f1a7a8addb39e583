from tests.worker.children.obedient import Obedient


class RepliesTwice(Obedient):
    def finish(self, event):
        super().finish(event)
        super().finish(event)


def serve(commands, events):
    RepliesTwice(commands, events).serve()

from tests.worker.children.obedient import Obedient


class SendsTheUnreadable(Obedient):
    """Written without a complaint; it is the reader that chokes on it."""

    def step(self, number):
        self.send(Bomb())


class Bomb:
    def __reduce__(self):
        return int, ("not a number",)


def serve(commands, events):
    SendsTheUnreadable(commands, events).serve()

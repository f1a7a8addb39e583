from tests.worker.children.obedient import Obedient


class SendsHalfAnEvent(Obedient):
    """A whole message, whose JSON ends too soon."""

    def step(self, number):
        with self.sending:
            self.events.send_bytes(b'{"event": "Stepped", ')


def serve(commands, events):
    SendsHalfAnEvent(commands, events).serve()

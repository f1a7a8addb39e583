from tests.worker.children.obedient import Obedient


class SendsAnUnknownEvent(Obedient):
    def step(self, number):
        with self.sending:
            self.events.send_bytes(b'{"event": "Sinned", "run_id": 1}')


def serve(commands, events):
    SendsAnUnknownEvent(commands, events).serve()

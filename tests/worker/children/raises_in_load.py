from tests.worker.children.obedient import Obedient


class RaisesInLoad(Obedient):
    def load(self, command):
        raise OSError("no file named model.safetensors found")


def serve(commands, events):
    RaisesInLoad(commands, events).serve()

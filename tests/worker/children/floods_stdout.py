import os

from tests.worker.children.obedient import Obedient


class FloodsStdout(Obedient):
    def step(self, number):
        for _ in range(1000):
            os.write(1, b"noise, noise, noise\n" * 50)


def serve(commands, events):
    FloodsStdout(commands, events).serve()

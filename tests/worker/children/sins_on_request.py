import importlib

from tests.worker.children import obedient
from tests.worker.children.obedient import Obedient

obedient.STEP_S = 0.001


class SinsOnRequest(Obedient):
    """Obedient, but that a run's argument `sin` names the sibling to load and step like."""

    model = Obedient

    def run(self, command):
        self.model = sibling(command.arguments.get("sin", "obedient"))
        return super().run(command)

    def load(self, command):
        self.model.load(self, command)

    def step(self, number):
        self.model.step(self, number)


def sibling(name):
    module = importlib.import_module(f"tests.worker.children.{name}")
    return getattr(module, "".join(word.capitalize() for word in name.split("_")))


def serve(commands, events):
    SinsOnRequest(commands, events).serve()

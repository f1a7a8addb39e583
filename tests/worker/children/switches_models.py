"""Keeps the models of one workflow, and tells when it loads others."""

import time

from dw.events import Executing, Finished, Loading, Planned
from tests.worker.children.obedient import NOTHING, Obedient

LOAD_S = 0.2
RUN_S = 0.002


class SwitchesModels(Obedient):
    loaded = ""

    def run(self, command):
        if self.loaded != command.text:
            self.send(Planned(command.run_id, "changed", (), ("gen.unet",), ()))
            self.send(Loading(command.run_id, "gen.unet", "UNet2DConditionModel", 1, 1))
            time.sleep(LOAD_S)
            self.loaded = command.text
        self.send(Executing(command.run_id, "w"))
        time.sleep(RUN_S)
        return Finished(command.run_id, "w", RUN_S, 0, (), NOTHING, command.output_dir)


def serve(commands, events):
    SwitchesModels(commands, events).serve()

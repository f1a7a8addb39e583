import os
import subprocess
import sys

from tests.worker.children.obedient import Obedient


class ForksAndDies(Obedient):
    """The grandchild inherits every descriptor, so no pipe of ours reaches its end."""

    def step(self, number):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
        os._exit(7)


def serve(commands, events):
    ForksAndDies(commands, events).serve()

"""`dw serve` on workers without an engine: `python -m tests.server.program [OPTION ...]`"""

from __future__ import annotations

import sys
from functools import partial

from dw import serve
from dw.worker import client

SERVE = "tests.worker.children.obedient:serve"

if __name__ == "__main__":
    client.LocalWorkerClient = partial(client.LocalWorkerClient, serve=SERVE)  # type: ignore
    sys.exit(serve.main())

"""`dw serve` on workers whose runs take 2 ms: `python -m bench.quick_server [OPTION ...]`"""

from __future__ import annotations

import sys
from functools import partial

from bench.quick_worker import SERVE
from dw import serve
from dw.worker import client

if __name__ == "__main__":
    client.LocalWorkerClient = partial(client.LocalWorkerClient, serve=SERVE)  # type: ignore[assignment,misc]
    sys.exit(serve.main())

"""The OpenAPI document of `dw serve`, as a server with keys and the built-in workflows tells it."""

from __future__ import annotations

import json
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from dw.jobs.catalog import Catalog
from dw.jobs.pool import Slot
from dw.jobs.queue import JobQueue
from dw.jobs.store import JobStore
from dw.server.access import Keys
from dw.server.app import create_app
from dw.server.files import FileStore
from dw.server.service import Service
from dw.settings import Settings
from dw.types import Permissions


class _NoWorkers:
    slots: tuple[Slot, ...] = ()

    def close(self) -> None:
        pass


def document() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with closing(JobStore(folder / "jobs.db")) as store:
            queue = JobQueue(store, _NoWorkers(), Settings())
            keys, catalog = Keys(frozenset({"any"})), Catalog(folder, Permissions())
            service = Service(queue, catalog, keys, folder, FileStore(folder / "files"))
            found: dict[str, Any] = create_app(service).openapi()
    return found


def openapi() -> str:
    return json.dumps(document(), indent=1, ensure_ascii=False) + "\n"

"""`dw serve`: an HTTP server that runs workflows as jobs on workers that keep their models."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import socket
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from errno import EADDRINUSE
from functools import partial
from pathlib import Path

from platformdirs import user_state_path

from dw.errors import EXIT_OK, UsageError
from dw.extras import needing
from dw.health.host import version_in_words
from dw.jobs.store import JobStore
from dw.programs import add_service_options, exit_code, program_parser
from dw.refusals import reason
from dw.server.limits import LIMITS, Limits
from dw.settings import load_settings, parse_seconds
from dw.workflow.find import workflows_below

_log = logging.getLogger(__name__)
LAST_PORT = 65535


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    return exit_code(lambda _out, _err: _serve(options))


def _parser() -> argparse.ArgumentParser:
    parser = program_parser("serve")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=_port, default=8000, help="(%(default)s); 0: a free one")
    parser.add_argument("--key-file", type=Path, metavar="FILE", help="API keys, one on each line")
    parser.add_argument(
        "--allow-inline", action="store_true", help="take workflows as text, never trusted"
    )
    parser.add_argument("--state", type=Path, metavar="DIR", help="folder of the job store")
    add_service_options(parser)
    for name, limit in LIMITS.items():
        option = f"--{name.replace('_', '-')}"
        is_count = isinstance(limit.default, int)
        parser.add_argument(
            option,
            type=partial(_count if is_count else parse_seconds, option),
            default=limit.default,
            metavar="N" if is_count else "S",
            help=f"{limit.metadata['doc']} (%(default)s)",
        )
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > LAST_PORT:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to {LAST_PORT}, got {text!r}")
    return int(text)


def _count(option: str, text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise UsageError(f"{option} must be a number above 0, got {text!r}")
    return int(text)


def _serve(options: argparse.Namespace) -> int:
    with needing("fastapi"):
        import uvicorn

        from dw.server.app import create_app
        from dw.server.connection import connections
    from dw.jobs.catalog import Catalog
    from dw.jobs.pool import LocalPool, devices_of
    from dw.jobs.queue import JobQueue
    from dw.jobs.requirements import Requirements
    from dw.jobs.storage import Storage
    from dw.server.access import Keys, require_safe_address
    from dw.server.files import FileStore
    from dw.server.logs import log_to_stderr
    from dw.server.service import Service
    from dw.server.shutdown import DrainingServer

    if options.trust and options.allow_inline:
        raise UsageError("--trust and --allow-inline exclude each other: a text is never trusted")
    settings = replace(load_settings(), trust=options.trust)
    keys = Keys.read(options.key_file)
    require_safe_address(options.host, keys)
    if options.storage:
        Storage(options.storage)
    folder = options.workflows or Path(settings.workflow_dir).expanduser()
    state = options.state or user_state_path("dw", appauthor=False)
    log_to_stderr(options.log_format)
    if (lack := _lack_of_workflows(folder)) and options.workflows:
        raise UsageError(lack, hints=["--workflows DIR   a folder with workflow files in it"])
    limits = Limits(**{name: getattr(options, name) for name in LIMITS})
    uploads = state / "files"
    allowed = os.pathsep.join(filter(None, (settings.allowed_dirs, str(uploads))))
    settings = replace(settings, allowed_dirs=allowed)  # a workflow may read what was sent to it
    requirements = Requirements(
        Path(settings.output_dir).expanduser(), options.require_env, options.require_cuda
    )
    with _listening(options.host, options.port) as listener, _kept_in(state) as store:
        if lack:
            _log.warning("%s: only what comes with dw is served without --workflows DIR", lack)
        devices = devices_of(options.workers, needs_cuda=options.require_cuda)
        pool = LocalPool(replace(settings, standby=True), devices)
        queue = JobQueue(store, pool, settings)
        try:
            service = Service(
                queue,
                Catalog(folder, settings.permissions),
                keys,
                state,
                FileStore(uploads),
                storage_url=options.storage,
                unfit=requirements.failure(),
                allows_text=options.allow_inline,
                limits=limits,
            )
            config = uvicorn.Config(
                create_app(service),
                http=connections(limits),
                ws="none",
                host=options.host,
                port=options.port,
                log_config=None,
                timeout_graceful_shutdown=2,
            )
            gc.collect()
            gc.freeze()  # what is here stays; each collection would walk through it
            host = f"[{options.host}]" if ":" in options.host else options.host
            port = listener.getsockname()[1]
            _log.info("dw %s, listening on http://%s:%d", version_in_words(), host, port)
            DrainingServer(config, queue, options.grace).run(sockets=[listener])
        finally:
            queue.close(options.grace)
    return EXIT_OK


def _lack_of_workflows(folder: Path) -> str | None:
    """Why a folder has no workflows to serve."""
    if folder.exists() and not folder.is_dir():
        return f"{str(folder)!r} is not a folder"
    if not folder.is_dir():
        return f"folder {str(folder)!r} does not exist"
    is_empty = next(workflows_below(folder), None) is None
    return f"no workflows in {str(folder)!r}" if is_empty else None


def _listening(host: str, port: int) -> socket.socket:
    """Raises UsageError for an address that cannot be had."""
    try:
        flags = socket.AI_PASSIVE
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        hints = ["--port N   another one; 0: a free one"] if error.errno == EADDRINUSE else []
        why = reason(error) if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise UsageError(f"cannot listen on {host}:{port}: {why.lower()}", hints=hints) from None


@contextmanager
def _kept_in(folder: Path) -> Iterator[JobStore]:
    """The store of jobs. Raises UsageError for a folder that cannot hold it."""
    try:
        store = JobStore(folder / "jobs.db")
    except (OSError, sqlite3.Error) as error:
        why = reason(error) if isinstance(error, OSError) else str(error)
        hints = ["--state DIR   another folder"]
        message = f"cannot keep jobs in {str(folder)!r}: {why.lower()}"
        raise UsageError(message, hints=hints) from None
    with closing(store):
        yield store


if __name__ == "__main__":
    sys.exit(main())

"""`dw runpod`: the queue handler of a RunPod endpoint, before workers that keep their models."""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dw.errors import EXIT_OK, UsageError
from dw.health.host import version_in_words
from dw.programs import add_service_options, exit_code, program_parser
from dw.runpod.log import RULE
from dw.runpod.mode import Mode, choose_mode
from dw.settings import Settings, load_settings
from dw.terminal.renderer import Stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dw.jobs.pool import LocalPool
    from dw.jobs.requirements import Requirements
    from dw.jobs.service import JobService
    from dw.runpod.call import Default

LOG_LEVELS = ("ERROR", "WARN", "INFO", "DEBUG")

_log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    if options.action == "check":
        return exit_code(lambda out, _err: _check(options, out))
    return exit_code(lambda _out, _err: _start(options))


def _parser() -> argparse.ArgumentParser:
    parser = program_parser("runpod")
    parser.add_argument(
        "action",
        nargs="?",
        choices=("start", "check"),
        default="start",
        help="check: say which mode would start, and why",
    )
    parser.add_argument(
        "--workflow", metavar="NAME", help="of inputs that are the arguments alone; or a path"
    )
    parser.add_argument("--stream", action="store_true", help="send each result when it is there")
    parser.add_argument(
        "--inline",
        type=partial(_megabytes, "--inline"),
        default=0,
        metavar="MB",
        help="results up to this size are in the answer even where the storage has URLs (0)",
    )
    parser.add_argument(
        "--refresh-after",
        type=partial(_count, "--refresh-after"),
        default=2,
        metavar="N",
        help="ask for a new machine after N deaths of the worker in a row; 0: never (%(default)s)",
    )
    parser.add_argument("--keep-files", action="store_true", help="keep results here as well")
    parser.add_argument("--json", action="store_true", help="the answer of check as JSON")
    add_service_options(parser)
    sdk = parser.add_argument_group("options of RunPod's SDK")
    sdk.add_argument("--test-input", "--test_input", metavar="JSON", help="run this one job")
    sdk.add_argument("--rp_serve_api", action="store_true", help="serve its test API")
    sdk.add_argument("--rp_api_host", metavar="HOST", help="of the test API")
    sdk.add_argument("--rp_api_port", metavar="PORT", type=int, help="of the test API")
    sdk.add_argument(
        "--rp_log_level", choices=LOG_LEVELS, default="INFO", help="of its log on stdout (INFO)"
    )
    return parser


def _megabytes(option: str, text: str) -> int:
    """In bytes."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise UsageError(f"{option} must be a number of megabytes, got {text!r}")
    return int(value * 1e6)


def _count(option: str, text: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"{option} must be a number from 0, got {text!r}")
    return int(text)


def _mode(options: argparse.Namespace) -> Mode:
    return choose_mode(
        os.environ,
        serves_api=options.rp_serve_api,
        test_input=options.test_input,
        streams=options.stream,
    )


def _sdk_flags(options: argparse.Namespace) -> list[str]:
    flags = ["--rp_serve_api"] if options.rp_serve_api else []
    for name in ("rp_api_host", "rp_api_port", "rp_log_level"):
        if (value := getattr(options, name)) is not None:
            flags += [f"--{name}", str(value)]
    return flags


# ------------------------------------------------------------------ check


def _check(options: argparse.Namespace, out: Stream) -> int:
    from dw.jobs.pool import devices_of
    from dw.jobs.storage import Storage

    settings, folder, name = _places(options)
    mode = _mode(options)
    _default(folder, name, settings)
    devices_of(options.workers)
    if options.storage:
        Storage(options.storage)
    failure = _requirements(options, settings).failure()
    if options.json:
        facts = failure.to_json() if failure else {"success": True}
        facts |= {"mode": mode.name, "why": mode.why, "warnings": mode.warnings}
        out.line(json.dumps(facts))
    else:
        out.line(f"mode: {mode.name}")
        out.line(f"why: {mode.why}")
        for warning in mode.warnings:
            out.line(f"warning: {warning}")
        out.line(f"initialization: {failure or 'ok'}")
    return failure.exit_code if failure else EXIT_OK


# ------------------------------------------------------------------ start


def _start(options: argparse.Namespace) -> int:
    from dw.server.logs import log_to_stderr

    log_to_stderr(options.log_format)
    for line in (RULE, "INITIALIZING RUNPOD SERVERLESS WORKER", RULE):
        _log.info("%s", line)
    settings, folder, name = _places(options)
    mode = _mode(options)
    _log.info("dw %s, mode %s: %s", version_in_words(), mode.name, mode.why)
    for warning in mode.warnings:
        _log.warning("%s", warning)
    with ExitStack() as cleanup:
        # First of all: the workers do their imports while this process does its own.
        pool = _started_pool(options, settings, cleanup)
        default = _default(folder, name, settings)
        service = _service(options, settings, folder, pool, cleanup)
        _serve(options, mode, service, default, cleanup)
    return EXIT_OK


def _serve(
    options: argparse.Namespace,
    mode: Mode,
    service: JobService,
    default: Default | None,
    cleanup: ExitStack,
) -> None:
    from dw.runpod import sdk
    from dw.runpod.handler import Handler, Policy

    config: dict[str, Any] = {"return_aggregate_stream": True}
    jobs = Handler(
        service,
        default=default,
        policy=Policy(options.inline, options.refresh_after, options.keep_files),
        send_update=sdk.send_update if mode.name == "queue" else None,
    )

    async def handler(job: Mapping[str, Any]) -> dict[str, Any]:
        return await jobs.answer(job)

    async def streaming_handler(job: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        async for piece in jobs.stream(job):
            yield piece
        if jobs.wants_refresh:
            config["refresh_worker"] = True  # a stream has no other way to say so

    def initialization() -> None:
        """What the deployment requires, its storage, and that each worker starts."""
        try:
            service.require_fitness()
            with _timed("storage tried out"):
                _try_storage(options.storage)
            with _timed("workers started"):
                _await_workers(service, default)
        except Exception as error:
            _log.error("Operation failed: %s", error)
            cleanup.close()  # the SDK ends this process without a cleanup
            raise

    # With one job, the SDK knows no streams.
    streams = options.stream and mode.name != "once"
    sdk.start(
        mode,
        streaming_handler if streams else handler,
        config=config,
        checks=[initialization],
        flags=_sdk_flags(options),
    )


def _started_pool(options: argparse.Namespace, settings: Settings, cleanup: ExitStack) -> LocalPool:
    from dw.jobs.pool import LocalPool, devices_of

    devices = devices_of(options.workers, needs_cuda=options.require_cuda)
    pool = LocalPool(replace(settings, standby=True), devices)
    cleanup.callback(pool.close)
    return pool


def _service(
    options: argparse.Namespace,
    settings: Settings,
    folder: Path,
    pool: LocalPool,
    cleanup: ExitStack,
) -> JobService:
    from dw.jobs.catalog import Catalog
    from dw.jobs.queue import JobQueue
    from dw.jobs.service import JobService
    from dw.jobs.storage import Storage
    from dw.jobs.store import JobStore

    if options.storage:
        Storage(options.storage)
    # The platform owns the jobs: what this process leaves undone is not done by the next.
    state = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="dw-runpod-")))
    store = cleanup.enter_context(closing(JobStore(state / "jobs.db")))
    queue = JobQueue(store, pool, settings)
    cleanup.callback(queue.close, options.grace)
    failure = _requirements(options, settings).failure()
    if failure is not None:
        _log.error("%s", json.dumps(failure.to_json()))
    return JobService(
        queue,
        Catalog(folder, settings.permissions),
        storage_url=options.storage,
        unfit=failure,
    )


def _try_storage(url: str) -> None:
    """Raises DwError where results would not arrive."""
    from dw.jobs.requirements import InitializationFailed
    from dw.jobs.storage_check import check_storage

    for finding in check_storage(url) if url else ():
        if finding.state == "failed":
            raise InitializationFailed(f"{finding.name}: {finding.found}", hints=[finding.remedy])


def _await_workers(service: JobService, default: Default | None) -> None:
    """Wait until every worker has done its imports. Raises DwError with the cause of its death."""
    from dw.events import Check
    from dw.jobs.outcome import follow
    from dw.jobs.validation import prepare_command

    for slot in service.queue.slots:
        number = slot.client.next_id()
        if default is None:
            stream = slot.client.submit(Check(number, "nothing.json", "{}"))
        else:
            document = service.catalog.document(default.workflow)
            permissions = service.catalog.permissions
            stream = slot.client.submit(prepare_command(number, document, permissions))
        outcome = follow(stream, on_event=lambda _: None, on_interrupt=_never)
        if outcome.error is not None:
            raise outcome.error


def _never() -> None:
    raise AssertionError("nobody interrupts the start of a worker")


@contextmanager
def _timed(what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    _log.info("%s: %.1f s", what, time.monotonic() - began)


# ------------------------------------------------------------------ options


def _places(options: argparse.Namespace) -> tuple[Settings, Path, str | None]:
    """The settings, the folder of what is served, and the name of the default workflow."""
    settings = replace(load_settings(), trust=options.trust)
    folder = options.workflows or Path(settings.workflow_dir).expanduser()
    name = options.workflow
    if name and Path(name).suffix == ".json":
        if options.workflows:
            raise UsageError("--workflow is a name where --workflows says the folder")
        folder, name = Path(name).parent, Path(name).stem
    return settings, folder, name


def _default(folder: Path, name: str | None, settings: Settings) -> Default | None:
    """Raises UsageError for an unknown name, and WorkflowError."""
    from dw.jobs.catalog import Catalog
    from dw.runpod.call import Default

    if name is None:
        return None
    document = Catalog(folder, settings.permissions).document(name)
    return Default(name, tuple(document.variables))


def _requirements(options: argparse.Namespace, settings: Settings) -> Requirements:
    from dw.jobs.requirements import Requirements

    output_dir = Path(settings.output_dir).expanduser()
    return Requirements(output_dir, options.require_env, options.require_cuda)

"""`dw doctor [WORKFLOW...]`: what of this machine is not as dw needs it, each with its remedy.

The exit code is 0 when nothing failed, 1 when something did. Warnings are told and pass.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

from dw.errors import EXIT_OK, DwError, RunFailed
from dw.health import Finding, worst
from dw.health.device import check_device
from dw.health.host import (
    check_folder,
    check_memory,
    check_port,
    check_variables,
    check_versions,
)
from dw.programs import exit_code, named_files, program_parser
from dw.settings import Settings, cache_dir, load_settings
from dw.terminal.remedies import PROGRAM
from dw.terminal.renderer import Stream

MARKS = {"ok": "ok", "warning": "warning", "failed": "FAILED"}


def main(argv: Sequence[str] | None = None) -> int:
    parser = program_parser("doctor")
    parser.add_argument(
        "workflows", nargs="*", metavar="WORKFLOW", help="names, paths or folders of workflows"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object for each check")
    parser.add_argument(
        "--deep", action="store_true", help="read all models and compare their digests"
    )
    parser.add_argument("--trust", action="store_true", help="as the workflows will be run with")
    parser.add_argument("--host", default="127.0.0.1", help="where a server shall listen")
    parser.add_argument("--port", type=int, metavar="N", help="check that it is free")
    parser.add_argument("--storage", metavar="URL", help="write, read and sign there")
    parser.add_argument(
        "--require-env",
        action="append",
        default=[],
        metavar="NAME",
        help="a variable that must be set",
    )
    given = parser.parse_args(argv)
    return exit_code(lambda out, _err: _examine(given, out))


def _examine(given: argparse.Namespace, out: Stream) -> int:
    settings = replace(load_settings(), trust=given.trust)
    findings = []
    for finding in examine(given, settings):
        findings.append(finding)
        for line in [json.dumps(asdict(finding))] if given.json else _lines(finding):
            out.line(line)
    if not given.json:
        out.line(_summary(findings))
    return EXIT_OK if worst(findings) != "failed" else RunFailed.exit_code


def _lines(finding: Finding) -> Iterator[str]:
    yield f"{MARKS[finding.state]:7}  {finding.name}: {finding.found}"
    if finding.remedy:
        yield f"{'':7}  -> {finding.remedy}"


def examine(given: argparse.Namespace, settings: Settings) -> Iterator[Finding]:
    """All findings, in the order of the checks, which run side by side."""
    from huggingface_hub import constants

    outputs = Path(settings.output_dir).expanduser()
    folders = {
        "outputs": (outputs, "DW_OUTPUT_DIR=FOLDER writes elsewhere"),
        "cache": (cache_dir(), "XDG_CACHE_HOME=FOLDER names another"),
        "models' cache": (Path(constants.HF_HUB_CACHE), "HF_HUB_CACHE=FOLDER names another"),
        "temporary files": (Path(_temporary()), "TMPDIR=FOLDER names another"),
    }
    checks: list[Callable[[], Iterable[Finding]]] = [
        check_versions,
        lambda: check_device(settings.device),
        check_memory,
        lambda: [check_folder(name, *each) for name, each in folders.items()],
        lambda: check_variables(given.require_env),
    ]
    if given.port is not None:
        checks.append(lambda: [check_port(given.host, given.port)])
    if given.storage:
        checks.append(lambda: _storage(given.storage))
    if given.workflows:
        checks.append(lambda: _workflows(given, settings))
    with ThreadPoolExecutor(len(checks)) as pool:
        for found in pool.map(lambda check: list(check()), checks):
            yield from found


def _temporary() -> str:
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:  # none can be written to
        return "/tmp"


def _storage(url: str) -> Iterator[Finding]:
    from dw.jobs.storage_check import check_storage

    try:
        yield from check_storage(url)
    except DwError as error:
        yield _failed("storage", error)


def _workflows(given: argparse.Namespace, settings: Settings) -> Iterator[Finding]:
    from dw.health.workflows import check_digests, check_revisions, check_workflows, models_of

    paths: list[Path] = []
    for name in given.workflows:
        try:
            paths += named_files(name, settings)
        except DwError as error:
            yield _failed(name, error)
    if not paths:
        return
    yield from check_workflows(paths, trust=given.trust)
    models = [*models_of(paths, settings.permissions).values()]
    yield from check_revisions(models)
    if given.deep:
        yield from check_digests(models)


def _failed(name: str, error: DwError) -> Finding:
    return Finding(name, "failed", error.message, "; ".join(PROGRAM.hints(error.hints)))


def _summary(findings: Sequence[Finding]) -> str:
    count = {state: sum(each.state == state for each in findings) for state in MARKS}
    return f"{count['ok']} passed, {count['warning']} warnings, {count['failed']} failed"


if __name__ == "__main__":
    sys.exit(main())

"""The OpenAPI document is a contract: what is sent by it, and against it, is answered by it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.conftest import RunningServer, Start

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance,negative_data_rejection,"
    "missing_required_header,unsupported_method,ignored_auth,use_after_free"
)
"""All but one: what the general types of the document allow, a workflow may refuse."""


def check_contract(server: RunningServer, folder: Path, *, examples: int, phases: str) -> None:
    run = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"),
            *("-H", "Authorization: Bearer any", "--phases", phases, "--checks", CHECKS),
            *("--max-examples", str(examples), "--seed", "1", "--no-color"),
            *("--generation-database", ":memory:", "--request-timeout", "20"),
        ],
        cwd=folder,
        env=os.environ | {"NO_PROXY": "*"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if run.returncode != 0:
        pytest.fail(run.stdout[-30000:], pytrace=False)


def test_what_is_sent_by_the_document_is_answered_by_it(start: Start, tmp_path: Path) -> None:
    server = start(keys=frozenset({"any"}))
    check_contract(server, tmp_path, examples=3, phases="fuzzing")


@pytest.mark.long
def test_a_lot_that_is_sent_by_the_document_is_answered_by_it(start: Start, tmp_path: Path) -> None:
    server = start(keys=frozenset({"any"}))
    phases = "examples,coverage,fuzzing,stateful"
    check_contract(server, tmp_path, examples=150, phases=phases)

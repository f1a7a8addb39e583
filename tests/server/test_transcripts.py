"""The transcripts of docs/serving.md, against the server that they begin with."""

from __future__ import annotations

import doctest
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
CONSOLE = re.findall(r"^```console\n(.*?)^```", PAGE, re.M | re.S)
PYTHON = re.findall(r"^```pycon\n(.*?)^```", PAGE, re.M | re.S)
URL = "localhost:8000"
STARTS_WITHIN_S = 90


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """`host:port` and the folder of a real server with the examples."""
    folder = tmp_path_factory.mktemp("serving")
    with socket.create_server(("127.0.0.1", 0)) as free:
        host = f"127.0.0.1:{free.getsockname()[1]}"
    words = ["-m", "dw", "serve", "--port", host.rpartition(":")[2], "--allow-inline"]
    words += ["--workflows", str(ROOT / "examples"), "--state", str(folder / "state")]
    with subprocess.Popen([sys.executable, *words], cwd=folder, env=environment()) as process:
        try:
            give_up = time.monotonic() + STARTS_WITHIN_S
            while not is_ready(host):
                assert process.poll() is None
                assert time.monotonic() < give_up
                time.sleep(0.05)
            yield host, folder
        finally:
            process.terminate()


def is_ready(host: str) -> bool:
    try:
        return httpx.get(f"http://{host}/readyz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def environment() -> dict[str, str]:
    own = {"PYTHONPATH": str(ROOT), "DW_WORKFLOW_DIR": str(ROOT / "examples"), "COLUMNS": "100"}
    return (
        os.environ
        | own
        | {
            "DW_STANDBY": "off",
            "HF_TOKEN": "",
            "HF_HUB_OFFLINE": "0",  # its client refuses any request else, also to a server here
            "no_proxy": "*",
        }
    )


@pytest.mark.parametrize(
    "text", PYTHON, ids=lambda text: re.findall(r"(\w+)\.?", text.partition("\n")[0])[-1]
)
def test_a_client_answers_as_the_page_says(server: tuple[str, Path], text: str) -> None:
    host, folder = server
    file = folder / "transcript.txt"
    file.write_text(text.replace(URL, host), encoding="utf-8")
    words = [sys.executable, "-m", "doctest", "-o", "ELLIPSIS", "-o", "NORMALIZE_WHITESPACE"]
    done = subprocess.run(
        [*words, file.name], cwd=folder, env=environment(), capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def commands() -> Iterator[tuple[str, str]]:
    """Each command of the page with what it prints."""
    for block in CONSOLE:
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command = re.match(r"(?:.*\\\n)*.*\n", part)
            assert command is not None
            yield command[0], part[command.end() :]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_commands_print_what_the_page_says(server: tuple[str, Path]) -> None:
    host, folder = server
    for command, expected in commands():
        script = f'dw() {{ "{sys.executable}" -m dw "$@"; }}\n{command.replace(URL, host)}'
        done = subprocess.run(
            ["bash", "-c", script], cwd=folder, env=environment(), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        shown = [re.sub(r"\d+", "0", text.strip()) for text in (expected, done.stdout)]
        is_same = doctest.OutputChecker().check_output(*shown, flags)
        assert is_same, f"{command}{done.stdout}{done.stderr}"
    assert (folder / "circle.png").read_bytes().startswith(b"\x89PNG")


def test_every_client_has_a_transcript() -> None:
    shown = "".join([*PYTHON, *CONSOLE])
    for client in ("curl", "openai", "runpod", "huggingface_hub", "replicate", "dw run"):
        assert client in shown

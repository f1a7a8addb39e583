"""The image: its Dockerfile is sound, its health check can fail, its install step works."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.test_readme import ROOT

DOCKERFILE = ROOT / "Dockerfile"


def health_check(port: int) -> int:
    """The exit code of the Dockerfile's health check, asked at another port."""
    command = re.search(r"CMD (\[\"python\".*?\])\n", DOCKERFILE.read_text(encoding="utf-8"))
    assert command is not None
    _, *words = json.loads(command[1].replace("127.0.0.1:8000", f"127.0.0.1:{port}"))
    return subprocess.run([sys.executable, *words], capture_output=True).returncode


@pytest.mark.parametrize(("status", "code"), [(200, 0), (404, 1), (500, 1), (503, 1)])
def test_the_health_check_can_fail(status: int, code: int) -> None:
    asked = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever).start()
        found = health_check(server.server_port)
        server.shutdown()
    assert (found, asked) == (code, ["/readyz"])


def test_the_health_check_fails_where_nobody_listens() -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        port = server.server_port
    assert health_check(port) == 1


def test_the_dockerfile_has_nothing_to_complain_of() -> None:
    lint = shutil.which("hadolint", path=os.path.dirname(sys.executable))
    if lint is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([lint, DOCKERFILE], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_the_dockerfile_copies_is_there_and_not_ignored() -> None:
    text = DOCKERFILE.read_text(encoding="utf-8")
    kept = {line[1:] for line in _lines(ROOT / ".dockerignore") if line.startswith("!")}
    copied = [
        source
        for words in re.findall(r"^COPY (?!--from)(?:--\S+ )*(.+)$", text, re.MULTILINE)
        for source in words.split()[:-1]
    ]
    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert {source, *map(str, Path(source).parents)} & kept, source


def test_what_probes_ask_is_served() -> None:
    manual = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    asked = {*re.findall(r"path: (/\w+), port", manual), "/readyz", "/ping", "/health"}
    assert len(asked) == 4
    assert asked <= json.loads((ROOT / "docs" / "openapi.json").read_bytes())["paths"].keys()


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_its_install_step_makes_a_dw_that_draws(tmp_path: Path) -> None:
    """As in the image: from the files that it copies, by the lock, without the source beside it."""
    source = tmp_path / "source"
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
        source.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, source)
    for name in ("container", "dw"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([source / "container" / "install.sh", tmp_path / "dw"], check=True)
    shutil.copy(ROOT / "examples" / "shapes.json", tmp_path)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [tmp_path / "dw" / "bin" / "dw", "run", "shapes.json", "num_inference_steps=2"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert [*(tmp_path / "outputs").rglob("*.png")]

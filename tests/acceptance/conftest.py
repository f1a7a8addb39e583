"""The real session on a real worker, in a folder of its own. Models are stand-ins, made once."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import dw.repl.commands.all  # noqa: F401  # fills the registry
from dw.events import Clear, Run, Stepped
from dw.repl.session import Session
from dw.settings import Settings
from dw.terminal.plain import PlainRenderer
from dw.terminal.renderer import Stream
from dw.worker.client import LocalWorkerClient

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = {"num_inference_steps": 2, "width": 64, "height": 64}


@dataclass
class Shell:
    """A session and what it has shown."""

    session: Session
    folder: Path
    screen: io.StringIO

    def __call__(self, line: str) -> list[str]:
        """The lines that one command shows, both streams in one, progress left out."""
        return [text for text in self.raw(line) if not text.startswith("  loading ")]

    def raw(self, line: str) -> list[str]:
        self.screen.seek(0)
        self.screen.truncate()
        self.code = self.session.attempt(line)
        return self.screen.getvalue().splitlines()

    @property
    def pid(self) -> int | None:
        return self.session.client.status().pid

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace text in a workflow file, as an editor does on save."""
        path = self.folder / f"{name}.json"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def document(self, name: str) -> dict:
        return json.loads((self.folder / f"{name}.json").read_text())

    def outputs(self) -> list[Path]:
        return sorted(self.folder.glob("outputs/*/*/*.png"))


@pytest.fixture(scope="package")
def client() -> Iterator[LocalWorkerClient]:
    """One worker for all, cleared between the tests; some of them need a new one."""
    client = LocalWorkerClient(Settings(standby=False))
    yield client
    client.close()


@pytest.fixture
def shell(
    client: LocalWorkerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shell]:
    """A new session whose first run finds no model in memory."""
    monkeypatch.chdir(tmp_path)
    yield new_shell(client, tmp_path)
    if client.status().pid is not None:
        client.submit(Clear(client.next_id())).result()


@pytest.fixture
def unused_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A new session that has no worker, and whose test starts none."""
    monkeypatch.chdir(tmp_path)
    client = LocalWorkerClient(Settings(standby=False))
    yield new_shell(client, tmp_path)
    assert client.status().pid is None
    client.close()


def new_shell(client: LocalWorkerClient, folder: Path) -> Shell:
    write_examples(folder)
    settings = Settings(workflow_dir=".", rehearse=True, standby=False)
    screen = io.StringIO()
    stream = Stream(screen)
    return Shell(Session(client, PlainRenderer(stream, stream), settings), folder, screen)


def a_run(shell: Shell, **arguments: object) -> Run:
    """The smoke test, as its command."""
    client, path = shell.session.client, shell.folder / "test.json"
    outputs = str(shell.folder / "outputs")
    text = path.read_text()
    return Run(client.next_id(), str(path), text, arguments, outputs, seed=7, rehearse=True)


def denoised(event: object, steps: int = 0) -> bool:
    """Whether a run is at least so far; on a busy machine a load reports steps of its own."""
    return isinstance(event, Stepped) and event.phase == "denoise" and event.done >= steps


def write_examples(folder: Path) -> None:
    """FluxDev and sdxl, made small, and the smoke test, all with a seed."""
    for name in ("FluxDev", "sdxl", "test"):
        document = json.loads((EXAMPLES / f"{name}.json").read_text())
        document["variables"] |= SMALL
        document["seed"] = 7
        (folder / f"{name}.json").write_text(json.dumps(document, indent=2))
    shutil.copytree(EXAMPLES / "media", folder / "media")


MEMORY = [
    "GPU Memory Status:",
    r"  Device: CPU",
    r"  Allocated: [0-9.]+ MB",
    r"  Reserved: [0-9.]+ MB",
    r"  Free: [0-9.]+ MB",
    r"  Total: [0-9.]+ MB",
    r"  Runs in this session: {runs}",
]


def memory(runs: int) -> list[str]:
    return [line.format(runs=runs) for line in MEMORY]


def completed(runs: int) -> list[str]:
    return [
        *memory(runs),
        "Workflow completed successfully",
        rf"\(Workflow has been executed {runs} time\(s\) in this session\)",
    ]

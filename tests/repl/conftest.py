"""A session on a fake worker, with streams that keep what they are given, beside two workflows."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import dw.repl.commands.all  # noqa: F401 - it fills the registry
from dw.events import Run
from dw.repl.session import Session, SessionOptions
from dw.settings import Settings
from dw.terminal.plain import PlainRenderer
from dw.terminal.renderer import Stream
from tests.repl.fake import FakeClient

FLUX: dict[str, Any] = {
    "id": "FluxDev",
    "description": "text to image",
    "variables": {"prompt": "a cat", "steps": 25, "sharp": False, "model": "nobody/tiny"},
    "steps": [
        {
            "name": "gen",
            "pipeline": {
                "configuration": {"component_type": "FluxPipeline"},
                "from_pretrained_arguments": {
                    "model_name": "variable:model",
                    "torch_dtype": "torch.float32",
                },
                "arguments": {"prompt": "variable:prompt", "num_inference_steps": "variable:steps"},
            },
            "result": {"content_type": "image/png"},
        }
    ],
}


@dataclass
class Shell:
    """A session and both of its streams."""

    session: Session
    client: FakeClient
    out: io.StringIO
    err: io.StringIO
    folder: Path
    answers: list[bool] = field(default_factory=list)

    def say(self, *lines: str) -> str:
        """What these lines print, both streams in one."""
        self.shown()
        for line in lines:
            self.session.attempt(line)
        return self.shown()

    def code(self, line: str) -> int:
        return self.session.attempt(line)

    def shown(self) -> str:
        text = self.out.getvalue()
        self.out.seek(0)
        self.out.truncate()
        return text

    @property
    def last_run(self) -> Run:
        return [command for command in self.client.commands if isinstance(command, Run)][-1]

    def edit(self, **changes: Any) -> None:
        write(self.folder / "examples" / "FluxDev.json", FLUX | changes)


def write(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, indent=1))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the session runs: two workflows in examples/."""
    (tmp_path / "examples").mkdir()
    write(tmp_path / "examples" / "FluxDev.json", FLUX)
    write(tmp_path / "examples" / "sdxl.json", FLUX | {"id": "sdxl"})
    monkeypatch.chdir(tmp_path)
    for variable in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    return tmp_path


@pytest.fixture
def shell(folder: Path) -> Shell:
    """As at a terminal: everything goes to one stream, and `answers` are given to questions."""
    out = io.StringIO()
    client = FakeClient()
    answers: list[bool] = []
    renderer = PlainRenderer(Stream(out), Stream(out), for_people=True)
    session = Session(client, renderer, Settings(), ask=lambda *_: answers.pop(0))
    return Shell(session, client, out, out, folder, answers)


@pytest.fixture
def scripted(folder: Path) -> Shell:
    """As in a script: results on one stream, the rest on another, nobody to ask."""
    out, err = io.StringIO(), io.StringIO()
    client = FakeClient()
    renderer = PlainRenderer(Stream(out), Stream(err))
    session = Session(client, renderer, Settings(), options=SessionOptions(is_script=True))
    return Shell(session, client, out, err, folder)

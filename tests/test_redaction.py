"""A value that came from the environment is in no file and no message, in any form."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dw.errors import RunFailed
from dw.events import Executing, Failed, Warned
from dw.redaction import TOKEN, redacted, redacted_arguments, redacted_text, tokens_in
from dw.types import Diagnostic
from dw.worker.child.failure import failed, redacted_event
from dw.workflow.json_path import spell_value

SECRET = "hf_" + "s3cret" * 10
SECRETS = {SECRET: "${env.TOKEN}", "12": "${env.N}", "it's\nin two lines": "${env.KEY}"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SECRET, "${env.TOKEN}"),
        (f"a {SECRET}!", "a ${env.TOKEN}!"),
        (f"got {spell_value(SECRET)}", "got '${env.TOKEN}"),
        ("12", "${env.N}"),
        ("a 12 b", "a 12 b"),
        (repr("it's\nin two lines"), '"${env.KEY}"'),
        (json.dumps("it's\nin two lines"), '"${env.KEY}"'),
        ("in two lines alone", "${env.KEY} alone"),
        ("nothing", "nothing"),
    ],
)
def test_every_form_of_a_value_is_replaced(text: str, expected: str) -> None:
    assert redacted_text(text, SECRETS) == expected


def test_the_longest_value_is_replaced_first() -> None:
    secrets = {"secret": "${env.A}", "secret-and-more": "${env.B}"}
    assert redacted_text("secret-and-more", secrets) == "${env.B}"
    assert redacted_text("x secret-and-more secret", secrets) == "x ${env.B} ${env.A}"


def test_texts_are_replaced_at_any_depth() -> None:
    found = redacted({SECRET: [(SECRET, 12, True, None)]}, SECRETS)
    assert found == {"${env.TOKEN}": [("${env.TOKEN}", 12, True, None)]}
    problem = Diagnostic("w.json", 1, 2, f"got {SECRET}")
    assert redacted(problem, SECRETS) == Diagnostic("w.json", 1, 2, "got ${env.TOKEN}")


def test_without_secrets_a_value_is_itself() -> None:
    value = {"a": [SECRET]}
    assert redacted(value, {}) is value


@pytest.mark.parametrize(
    ("value", "text"), [(12, "12"), (12.0, "12"), (0.5, "0.5"), (True, "true"), (False, "0")]
)
def test_a_number_in_an_argument_may_be_one(value: Any, text: str) -> None:
    assert redacted_arguments({"a": [value, 7]}, {text: "${env.N}"}) == {"a": ["${env.N}", 7]}
    assert redacted_arguments({"a": (value,)}, {"x": "${env.N}"}) == {"a": (value,)}


def test_tokens_of_a_workflow_are_secrets() -> None:
    data = {"steps": [{"from_pretrained_arguments": {"token": "hf_x", "a": {"token": True}}}]}
    assert tokens_in(data) == {"hf_x": TOKEN}
    assert tokens_in({"token": ""}) == {}


def test_events_have_no_secret_in_their_messages() -> None:
    try:
        raise RunFailed(f"cannot read {SECRET}", hints=[f"or {SECRET}"], where=SECRET)
    except RunFailed as error:
        event = redacted_event(failed(1, error), SECRETS)
    assert isinstance(event, Failed)
    assert SECRET not in repr(event)
    assert event.message == "cannot read ${env.TOKEN}"
    assert redacted_event(Warned(1, SECRET), SECRETS).message == "${env.TOKEN}"  # type: ignore[union-attr]
    other = Executing(1, SECRET)
    assert redacted_event(other, SECRETS) is other


WORKFLOW = {
    "id": "w",
    "variables": {"prompt": "a circle", "steps": 1, "path": None},
    "steps": [
        {
            "name": "gen",
            "pipeline": {
                "configuration": {"component_type": "StableDiffusionPipeline"},
                "from_pretrained_arguments": {"model_name": "builtin:shapes"},
                "arguments": {"prompt": "variable:prompt", "num_inference_steps": "variable:steps"},
            },
            "result": {"content_type": "image/png", "embed_metadata": True},
        },
        {
            "name": "read",
            "task": {"command": "gather_inputs", "inputs": [{"image": "variable:path"}]},
        },
    ],
}


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_value_of_the_environment_is_written_nowhere(tmp_path: Path) -> None:
    """In the real shell: a run that succeeds, one that fails, a sweep, and what it leaves."""
    secret = "k7-unguessable-value"
    (tmp_path / "w.json").write_text(json.dumps(WORKFLOW))
    commands = [
        "load w.json",
        "let t=${env.DW_TEST_SECRET}",
        'run prompt="a circle, ${t}" steps=${env.DW_TEST_STEPS}',
        'run prompt="${env.DW_TEST_SECRET} 1" prompt="${t} 2"',
        "try run path=${env.DW_TEST_SECRET}/cat.png",
        "try run steps=${t}",
        "history",
    ]
    homes = {name: str(tmp_path / "home") for name in ("HOME", "XDG_CONFIG_HOME")}
    homes |= {f"XDG_{name}_HOME": str(tmp_path / "home" / name) for name in ("STATE", "CACHE")}
    environment = {**os.environ, **homes, "DW_STANDBY": "off", "DW_TEST_STEPS": "3"}
    done = subprocess.run(
        [sys.executable, "-m", "dw", *(w for c in commands for w in ("-c", c)), "--json"],
        cwd=tmp_path,
        env={**environment, "DW_TEST_SECRET": secret},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    written = files(tmp_path)
    assert not [path for path in written if secret.encode() in path.read_bytes()]
    assert secret.encode() not in done.stdout + done.stderr
    records = sorted(path for path in written if path.name == "run.json")
    first, *_ = (json.loads(path.read_text()) for path in records)
    assert first["arguments"] == {
        "prompt": "a circle, ${env.DW_TEST_SECRET}",
        "steps": "${env.DW_TEST_STEPS}",
    }
    assert len(records) == 3
    kept = [*records, *(path for path in written if path.suffix == ".log")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}

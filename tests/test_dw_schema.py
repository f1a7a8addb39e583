"""`dw schema`: of workflow files, and of one workflow's arguments."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from dw.schema import FILE, main

ROOT = Path(__file__).parents[1]
HEADSHOT = ROOT / "examples" / "service" / "headshot.json"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DW_WORKFLOW_DIR", str(tmp_path))
    return tmp_path


def test_without_a_name_it_is_the_schema_of_workflow_files(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(FILE.read_text(encoding="utf-8"))


def test_the_schema_of_a_workflow_tells_right_arguments_from_wrong_ones(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    (folder / "headshot.json").write_bytes(HEADSHOT.read_bytes())
    assert main(["headshot"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["title"] == "headshot"
    assert schema["required"] == ["prompt", "user_id"]
    judge = jsonschema.Draft202012Validator(schema)
    right = {"prompt": "a hen", "user_id": "u_1", "number": 2, "seed": 7}
    assert judge.is_valid(right)
    for wrong in (
        {"prompt": "a hen"},
        right | {"prompt": "x" * 1001},
        right | {"user_id": "user@domain.com"},
        right | {"number": 3},
        right | {"num_inference_steps": 101},
        right | {"seed": -1},
        right | {"promt": "x"},
    ):
        assert not judge.is_valid(wrong), wrong


@pytest.mark.parametrize(
    ("name", "text", "code", "told"),
    [
        ("nothing", None, 2, "error: unknown workflow 'nothing'"),
        ("demo", "{", 3, "demo.json:1:2: the file ends too early"),
        ("demo", '{"id": "demo", "steps": [], "stepps": 1}', 3, "unknown key 'stepps'"),
    ],
)
def test_what_has_no_schema_says_why(
    capsys: pytest.CaptureFixture[str],
    folder: Path,
    name: str,
    text: str | None,
    code: int,
    told: str,
) -> None:
    if text is not None:
        (folder / f"{name}.json").write_text(text)
    assert main([name]) == code
    output = capsys.readouterr()
    assert output.out == ""
    assert told in output.err

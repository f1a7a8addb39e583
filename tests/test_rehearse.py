from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dw.rehearse import main

STEP = {
    "name": "gen",
    "pipeline": {
        "configuration": {"component_type": "StableDiffusionPipeline"},
        "from_pretrained_arguments": {"model_name": "some/model"},
        "arguments": {"prompt": "a cat", "num_inference_steps": 2, "width": 64, "height": 64},
    },
    "result": {"content_type": "image/png"},
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, stand_ins: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, **pipeline: Any) -> str:
    step = {**STEP, "pipeline": {**STEP["pipeline"], **pipeline}}  # type: ignore[dict-item]
    Path(f"{name}.json").write_text(json.dumps({"id": name, "steps": [step]}))
    return f"{name}.json"


def test_a_workflow_that_runs_is_a_row(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert main([write("good")]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["workflow", "ran", "seconds"]
    assert row.split()[:2] == ["good.json", "yes"]
    assert row.endswith("1 image/png 64x64")
    assert [path.name for path in folder.iterdir()] == ["good.json"]


def test_the_first_failure_is_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    lonely = {"component_type": "StableDiffusionControlNetPipeline"}
    strange = {"arguments": {"pormpt": "a cat"}}
    files = [write("good"), write("lonely", configuration=lonely), write("strange", **strange)]
    assert main(files) == 1
    _, good, failed, invalid = capsys.readouterr().out.splitlines()
    assert " yes " in good
    assert " no " in failed
    assert "step 'gen': StableDiffusionControlNetPipeline needs controlnet" in failed
    assert "strange.json:1:" in invalid
    assert "takes no argument 'pormpt'" in invalid
    assert main(files[2:]) == 3


def test_each_file_is_an_object_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = {"prompt": "a cat", "num_inference_steps": 50, "width": 64, "height": 64}
    assert main(["--json", "-o", "kept", write("long", arguments=arguments)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["file"], found["ran"], found["error"]) == ("long.json", True, None)
    assert found["notes"] == ["step 'gen': rehearsed with num_inference_steps=4 instead of 50"]
    assert Path(found["outputs"][0]["path"]).is_relative_to("kept")


def test_a_folder_stands_for_the_workflows_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    write("one")
    write("two")
    assert main(["."]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_workflow_that_is_not_there_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nothing"]) == 2
    assert "nothing" in capsys.readouterr().err

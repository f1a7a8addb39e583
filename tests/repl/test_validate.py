from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dw.validate import main
from tests.repl.conftest import FLUX, write


def test_a_valid_workflow_is_compared_with_the_installed_classes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["FluxDev", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["file"], found["valid"]) == ("examples/FluxDev.json", True)


def test_an_argument_that_the_pipeline_does_not_take_is_a_problem(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = json.dumps(FLUX).replace('"num_inference_steps"', '"num_inference_stpes"')
    Path("examples/wrong.json").write_text(text)
    assert main(["wrong"]) == 3
    assert "num_inference_stpes" in capsys.readouterr().out


def test_every_problem_is_a_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder / "examples" / "wrong.json", FLUX | {"seed": "x", "stesp": 1})
    assert main(["wrong"]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all(line.startswith("examples/wrong.json:") for line in lines)


def test_a_workflow_that_is_not_there_is_usage(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["FluxDve"]) == 2
    assert "(did you mean 'FluxDev'?)" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_file_that_cannot_be_read_is_not_valid(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    Path("examples/bytes.json").write_bytes(b'{"id": "\xff"}')
    assert main(["bytes", *options]) == 3
    printed = capsys.readouterr().out
    assert "not UTF-8 text: byte 0xff at offset 8" in printed
    assert "is valid" not in printed


def test_a_folder_stands_for_the_workflows_in_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        write(folder / "examples" / f"{name}.json", FLUX | {"seed": name})
    Path("examples/FluxDev.json").unlink()
    Path("examples/sdxl.json").unlink()
    assert main(["examples"]) == 3
    printed = capsys.readouterr().out
    assert printed.index("examples/a.json:") < printed.index("examples/b.json:")


def validated(capsys: pytest.CaptureFixture[str], *names: str) -> list[str]:
    """The files that are reported; each is a list, and so has one problem."""
    main(list(names))
    return [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()]


def write_in(path: Path, data: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, data)


@pytest.fixture
def results(folder: Path) -> Path:
    """A folder with a workflow, and the results of runs in `outputs` and in another place."""
    root = folder / "work"
    record = {"state": "finished", "path": "work/own.json"}
    write_in(root / "own.json", [])
    write_in(root / "outputs" / "notes.json", [])
    for run in (root / "outputs" / "1", root / "elsewhere" / "2"):
        write_in(run / "own.json", [])
        write_in(run / "run.json", record)
    return root


def test_the_results_of_runs_are_passed_over(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert validated(capsys, "work") == ["work/own.json", "work/outputs/notes.json"]
    monkeypatch.setenv("DW_OUTPUT_DIR", str(results / "outputs"))
    assert validated(capsys, "work") == ["work/own.json"]


def test_a_folder_that_is_named_is_not_passed_over(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DW_OUTPUT_DIR", "work/outputs")
    assert validated(capsys, "work/outputs") == ["work/outputs/notes.json"]
    assert "work/elsewhere/2/own.json" in validated(capsys, "work/elsewhere/2")


def test_a_workflow_may_be_named_as_a_record_is(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_in(folder / "work" / "inner" / "run.json", [])
    assert validated(capsys, "work") == ["work/inner/run.json"]

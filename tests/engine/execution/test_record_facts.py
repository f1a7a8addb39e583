"""What is written into a run's record, on a run that nobody had to execute."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import dw
from dw import run_record
from dw.engine.cancellation import Cancelled
from dw.engine.execution.run_record import VERSIONS, RunRecord
from dw.engine.models.fingerprint import Fingerprint
from dw.errors import OutOfResources, RunFailed, SetOutputDir
from dw.events import NotFinite, Run
from dw.run_folders import kept_text
from dw.types import OutputFile, Spoiled

CHILD = {"/w/child.json": "{}"}
TEXT = '{"id": "demo", "prompt": "ein Föx"}'


@pytest.fixture
def run(tmp_path: Path) -> Any:
    folder = tmp_path / "demo" / "0001"
    folder.mkdir(parents=True)
    warnings: list[str] = []
    return SimpleNamespace(
        context=SimpleNamespace(
            workflow=SimpleNamespace(id="demo", variables={"prompt": "a fox", "steps": 4}),
            document=SimpleNamespace(path=Path("w/demo.json"), text=TEXT, texts=lambda: CHILD),
            seed=7,
            folder=folder,
            secrets={"hunter22": "${env.TOKEN}"},
        ),
        device=SimpleNamespace(name="CPU"),
        planner=SimpleNamespace(context=SimpleNamespace(rehearse=True)),
        seeds={},
        fingerprints=lambda: {"draw.unet": Fingerprint("stat")},
        stop=SimpleNamespace(cuts=0),
        timings_s={},
        outputs=[],
        not_finite=[],
        warn=warnings.append,
        warnings=warnings,
    )


def request(run: Any, arguments: dict[str, Any]) -> Run:
    outputs = str(run.context.folder.parents[1])
    return Run(0, "w/demo.json", TEXT, arguments, outputs, seed=5)


def facts_of(run: Any) -> dict[str, Any]:
    return run_record.read(run.context.folder)


def test_at_its_beginning_it_says_what_is_run(run: Any) -> None:
    arguments = {"steps": 4}
    record = RunRecord(run, request(run, arguments))
    arguments["steps"] = 5
    before = run_record.now()
    record.begin()
    facts = facts_of(run)
    outputs = run.context.folder.parents[1]
    assert [kept_text(outputs, facts["text_sha256"])] == [TEXT]
    assert [kept_text(outputs, sha) for sha in facts["sub_workflows"].values()] == ["{}"]
    assert facts.pop("started") <= before
    assert facts == {
        "workflow": "demo",
        "path": "w/demo.json",
        "text_sha256": hashlib.sha256(TEXT.encode()).hexdigest(),
        "arguments": {"steps": 4},
        "hidden": [],
        "typed_seed": 5,
        "sub_workflows": {"/w/child.json": hashlib.sha256(b"{}").hexdigest()},
        "resolved_arguments": {"prompt": "a fox", "steps": 4},
        "seed": 7,
        "device": "CPU",
        "rehearse": True,
        "host": platform.node(),
        "pid": os.getpid(),
        "versions": VERSIONS,
        "state": "running",
        "steps": [],
        "models": {
            "draw.unet": {"content": hashlib.sha256(b"stat").hexdigest()[:16], "files": "stat"}
        },
        "stopped_early": False,
        "not_finite": [],
        "timings_s": {},
        "outputs": [],
    }


def test_the_versions_are_those_that_decide_the_result() -> None:
    libraries = ("torch", "diffusers", "transformers", "accelerate", "peft")
    assert {
        "dw": dw.__version__,
        "python": platform.python_version(),
        **{name: version(name) for name in libraries},
    } == {**VERSIONS}


def test_what_is_secret_is_named_only(run: Any) -> None:
    run.context.workflow.variables = {"prompt": "a fox", "token": "hunter22"}
    record = RunRecord(run, request(run, {"token": "hunter22"}))
    record.begin()
    record.end(RunFailed("the host refused hunter22"))
    facts = facts_of(run)
    assert facts["arguments"] == {"token": "${env.TOKEN}"}
    assert facts["hidden"] == ["${env.TOKEN}"]
    assert facts["resolved_arguments"] == {"prompt": "a fox", "token": "${env.TOKEN}"}
    assert facts["cause"] == "the host refused ${env.TOKEN}"
    assert "the host refused ${env.TOKEN}" in facts["trace"]
    assert "hunter22" not in facts["trace"]


def test_at_its_end_it_says_what_was_made(run: Any) -> None:
    record = RunRecord(run, request(run, {}))
    record.begin()
    began = facts_of(run)
    run.seeds.update({"draw": 7, "refine": 8})
    run.stop.cuts = 1
    run.timings_s["load"] = 1.23456789
    inside, elsewhere = str(run.context.folder / "a.png"), "/elsewhere/b.png"
    run.outputs += [
        OutputFile(path, "image/png", 100, "0" * 64, 64, 32) for path in (inside, elsewhere)
    ]
    run.not_finite.append(NotFinite(1, "draw", Spoiled("the latents", "vae", 2, 4), True))
    record.end()
    facts = facts_of(run)
    [spoiled] = facts["not_finite"]
    assert (spoiled["name"], spoiled["what"], spoiled["is_allowed"]) == (
        "draw",
        "the latents",
        True,
    )
    assert began["started"] == facts["started"] <= facts["ended"] <= run_record.now()
    assert (facts["state"], facts["cause"]) == ("finished", None)
    assert facts["steps"] == [{"name": "draw", "seed": 7}, {"name": "refine", "seed": 8}]
    assert facts["stopped_early"] is True
    assert facts["timings_s"] == {"load": 1.2346}
    output, other = facts["outputs"]
    assert other["path"] == elsewhere, "it had to be kept there"
    assert (output["path"], output["width"], output["height"]) == ("a.png", 64, 32)
    assert (output["content_type"], output["nbytes"]) == ("image/png", 100)
    assert {key: facts[key] for key in ("workflow", "seed", "pid")} == {
        key: began[key] for key in ("workflow", "seed", "pid")
    }
    assert run.warnings == []


@pytest.mark.parametrize(
    ("error", "state", "cause"),
    [
        (Cancelled(2, 4), "cancelled", "cancelled after step 2 of 4"),
        (Cancelled(0, 0, "told"), "cancelled", "cancelled after step 0 of 0: told"),
        (KeyboardInterrupt(), "cancelled", "cancelled: interrupted"),
        (RunFailed("width 63", where="step 'gen'"), "failed", "step 'gen': width 63"),
        (KeyError("x"), "failed", "KeyError: 'x'"),
        (SystemExit(3), "failed", "SystemExit: 3"),
    ],
)
def test_each_end_has_its_state_and_its_cause(
    run: Any, error: BaseException, state: str, cause: str
) -> None:
    record = RunRecord(run, request(run, {}))
    record.begin()
    record.end(error)
    facts = facts_of(run)
    assert (facts["state"], facts["cause"]) == (state, cause)


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_run_that_cannot_be_recorded_does_not_begin_and_leaves_no_folder(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutOfResources) as refused:
        RunRecord(run, request(run, {})).begin()
    record = run.context.folder / "run.json"
    assert str(refused.value) == f"no space left for {str(record)!r}"
    assert refused.value.hints == (SetOutputDir(),)
    assert not run.context.folder.exists()


def test_an_end_that_cannot_be_recorded_is_a_warning(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = RunRecord(run, request(run, {}))
    record.begin()
    monkeypatch.setattr(os, "fsync", full)
    record.end()
    file = run.context.folder / "run.json"
    assert run.warnings == [
        f"no space left for {str(file)!r}; it goes on saying that the run is running"
    ]
    assert facts_of(run)["state"] == "running"
    assert os.listdir(run.context.folder) == ["run.json"]

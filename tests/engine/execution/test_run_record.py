"""What is left of a run, whatever became of it."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from dw import run_record
from dw.engine import Engine, RunControl
from dw.errors import OutOfResources
from dw.events import Started
from tests.engine.session import CancelsAt, Json, Session, generate, text_to_image, workflow

NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def last_record(session: Session) -> Json:
    *_, last = sorted((session.folder / "outputs" / "demo").iterdir())
    return run_record.read(last)


def test_a_run_is_recorded_before_it_is_said_to_be_taken_up(warm: Session, sd15: Path) -> None:
    class Looks(RunControl):
        def check(self) -> None:
            states.append((len(warm.seen(Started)), last_record(warm)["state"]))

    states: list[Any] = []
    warm.run(text_to_image(sd15), control=Looks())
    assert set(states) == {(1, "running")}
    assert last_record(warm)["state"] == "finished"


def test_a_run_that_failed_says_why(warm: Session, sd15: Path) -> None:
    error = warm.fail(text_to_image(sd15), control=Breaks())
    record = last_record(warm)
    assert (record["state"], record["cause"]) == ("failed", str(error))
    assert record["cause"] == "step 'gen', denoise: the latents are odd"
    assert record["started"] <= record["ended"]
    assert record["outputs"] == []


def test_a_bug_is_a_failure_too(warm: Session, sd15: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "_load", lambda *_: {}["nothing"])
    with pytest.raises(KeyError):
        warm.run(text_to_image(sd15))
    record = last_record(warm)
    assert (record["state"], record["cause"]) == ("failed", "KeyError: 'nothing'")


def test_a_run_that_was_cancelled_says_where(warm: Session, sd15: Path) -> None:
    warm.cancel(text_to_image(sd15), CancelsAt(2))
    record = last_record(warm)
    assert (record["state"], record["cause"]) == ("cancelled", "cancelled after step 2 of 4")


def test_what_was_written_before_a_failure_is_recorded(warm: Session, sd15: Path) -> None:
    second = {**generate(sd15), "name": "second"}
    warm.fail(workflow(generate(sd15), second), control=Breaks(call=2))
    [output] = last_record(warm)["outputs"]
    assert output["path"] == "demo-gen.0-0.0.png"


def test_a_run_that_cannot_be_recorded_is_not_taken_up(
    session: Session, sd15: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_record, "write", failing(NO_SPACE))
    error = session.fail(text_to_image(sd15))
    assert isinstance(error, OutOfResources)
    assert "no space left for" in error.message
    assert session.events == []
    assert os.listdir(session.folder / "outputs" / "demo") == []


def test_an_end_that_cannot_be_recorded_is_told_and_costs_no_file(
    warm: Session, sd15: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = warm.hashes(text_to_image(sd15))
    control = FillsTheDisk(monkeypatch)
    assert warm.hashes(text_to_image(sd15), control=control) == before
    [message] = warm.warnings
    assert message.startswith("no space left for ")
    assert message.endswith("run.json'; it goes on saying that the run is running")


def test_an_error_is_told_though_it_cannot_be_recorded(
    warm: Session, sd15: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = warm.fail(text_to_image(sd15), control=FillsTheDisk(monkeypatch, call=1))
    assert error.message == "the latents are odd"
    assert len(warm.warnings) == 1


class Breaks(RunControl):
    """A denoising fails in its second step: that of the first call, or of a later one."""

    def __init__(self, call: int = 1) -> None:
        super().__init__()
        self.call = call  # how many more there are, that one included; 0: none fails

    def stepped(self, step: int, steps: int) -> None:
        self.call -= step == 2
        if step == 2 and self.call == 0:
            raise RuntimeError("the latents are odd")
        super().stepped(step, steps)


class FillsTheDisk(Breaks):
    """As soon as the run is taken up; images still find a place."""

    def __init__(self, patch: pytest.MonkeyPatch, call: int = 0) -> None:
        super().__init__(call)
        self._patch = patch

    def check(self) -> None:
        self._patch.setattr(run_record, "write", failing(NO_SPACE))


def failing(error: Exception) -> Any:
    def fail(*_: Any) -> None:
        raise error

    return fail


def test_two_engines_share_a_folder(warm: Session, session: Session, sd15: Path) -> None:
    """As two shells do. Each run has a folder of its own."""
    other = Session(session.engine, warm.folder)

    class RunsAnother(RunControl):
        def check(self) -> None:
            if not theirs:
                theirs.append(other.run(text_to_image(sd15)))

    theirs: list[Any] = []
    ours = warm.run(text_to_image(sd15), control=RunsAnother())
    mine, yours = Path(ours.output_dir), Path(theirs[0].output_dir)
    assert int(yours.name) == int(mine.name) + 1
    assert [run_record.read(folder)["state"] for folder in (mine, yours)] == ["finished"] * 2
    assert ours.outputs[0].sha256 == theirs[0].outputs[0].sha256

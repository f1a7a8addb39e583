"""Models that come with dw: found by name, offline, and rehearsed on themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dw.engine.files.access import FileAccess
from dw.engine.models import source
from dw.engine.models.source import Sources
from dw.errors import WorkflowError
from dw.workflow.builtin import MODELS
from tests.engine.session import Session, text_to_image

DRAWN = {"num_inference_steps": 1, "width": 128, "height": 128}
OUTLINE = {"model_name": "builtin:shapes-outline"}


def shapes(**changes: Any) -> dict[str, Any]:
    return text_to_image("builtin:shapes", arguments=DRAWN, **changes)


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch) -> Sources:
    """Any look at the hub fails."""
    for name in ("snapshot_download", "hf_hub_download"):
        monkeypatch.setattr(source, name, None)
    return Sources()


def test_a_built_in_pipeline_is_its_folder(sources: Sources, tmp_path: Path) -> None:
    access = FileAccess(tmp_path)
    assert sources.pipeline("builtin:shapes", access=access, options={}) == MODELS / "shapes"
    part = sources.component("builtin:shapes", "unet", access=access, options={})
    assert part == MODELS / "shapes" / "unet"


def test_a_built_in_adapter_is_its_file(sources: Sources, tmp_path: Path) -> None:
    file = sources.file("builtin:shapes-outline", None, access=FileAccess(tmp_path), options={})
    assert file.parent == MODELS / "shapes-outline"


def test_one_that_dw_does_not_have_is_an_error(sources: Sources, tmp_path: Path) -> None:
    with pytest.raises(
        WorkflowError, match=r"unknown built-in model 'shape' \(did you mean 'shapes'\?"
    ):
        sources.pipeline("builtin:shape", access=FileAccess(tmp_path), options={})


@pytest.mark.parametrize(
    ("workflow", "message"),
    [
        (text_to_image("builtin:shape"), "unknown built-in model 'shape' (did you mean"),
        (text_to_image("builtin:../test"), "unknown built-in model '../test'"),
        (
            text_to_image("builtin:x", loras=[OUTLINE]),
            "unknown built-in model 'x'; known are shapes, shapes-outline",
        ),
        (shapes(loras=[{"model_name": "builtin:outline"}]), "unknown built-in model 'outline'"),
    ],
)
@pytest.mark.parametrize("rehearse", [False, True])
def test_a_run_names_what_dw_has(
    session: Session, workflow: dict[str, Any], message: str, rehearse: bool
) -> None:
    failure = session.fail(workflow, rehearse=rehearse)
    assert isinstance(failure, WorkflowError)
    assert any(message in problem.message for problem in failure.problems)


def test_a_rehearsal_draws_with_the_model_itself(session: Session) -> None:
    for workflow in (shapes(), shapes(loras=[OUTLINE])):
        assert session.hashes(workflow, rehearse=True) == session.hashes(workflow)


def test_a_rehearsal_with_a_part_from_the_hub_needs_stand_ins(session: Session) -> None:
    workflow = shapes(loras=[OUTLINE, {"model_name": "somebody/style"}])
    assert session.run(workflow, rehearse=True).outputs

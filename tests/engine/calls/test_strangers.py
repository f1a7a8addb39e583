"""What a call may be given, when the values of its arguments are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import CLIPImageProcessor, Pipeline, PreTrainedTokenizerFast, ProcessorMixin

from dw.engine.calls.strangers import require_harmless
from dw.errors import RunFailed, TrustWorkflow
from tests.engine.session import Session, workflow


class Seeing(Pipeline):
    image_processor = object()


class Writing(Pipeline):
    image_processor = None


class Processor(ProcessorMixin):
    image_processor = object()


for each in (Seeing, Writing, Processor):
    each.__module__ = "transformers.pipelines.made"
    each.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]


def made(cls: Any) -> Any:
    return object.__new__(cls)


@pytest.mark.parametrize("cls", [Seeing, Processor, CLIPImageProcessor])
@pytest.mark.parametrize("place", ["http://127.0.0.1/x.png", "HTTPS://example.com/", "{file}"])
def test_transformers_opens_no_text(cls: Any, place: str, tmp_path: Path) -> None:
    (tmp_path / "x.png").touch()
    text = place.format(file=tmp_path / "x.png")
    chat = [{"role": "user", "content": ({"type": "image", "url": text},)}]
    for arguments in ({"images": text}, {"images": [text]}, {"text": chat}):
        with pytest.raises(RunFailed, match=r"would open .* itself") as error:
            require_harmless(arguments, target=made(cls), trust=False)
        assert error.value.remedies == (TrustWorkflow(),)
        require_harmless(arguments, target=made(cls), trust=True)


@pytest.mark.parametrize("cls", [Writing, PreTrainedTokenizerFast, Path])
def test_where_a_text_is_a_text_it_may_be_any(cls: Any, tmp_path: Path) -> None:
    target = Path() if cls is Path else made(cls)
    for text in ("http://127.0.0.1/x.png", str(tmp_path)):
        require_harmless({"text": text}, target=target, trust=False)


def test_a_text_that_names_nothing_is_one(tmp_path: Path) -> None:
    arguments = {"text": [f"{tmp_path}/nothing", "a cat", "x" * 10_000, "a\0b"]}
    require_harmless(arguments, target=made(Seeing), trust=False)


def test_a_result_brings_no_option_into_a_call() -> None:
    with pytest.raises(RunFailed, match="'custom_generate' would run a function") as error:
        require_harmless({"a": [{"custom_generate": "org/name"}]}, trust=False)
    assert error.value.remedies == (TrustWorkflow(),)
    require_harmless({"a": [{"custom_generate": "org/name"}]}, trust=True)


@pytest.mark.parametrize("command", ["gather_inputs", "text_generation"])
def test_it_is_judged_before_a_task_runs(
    session: Session, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checks of the file do not see what a step makes."""
    monkeypatch.setattr("dw.workflow.checks.all.check_options", lambda *_, **__: ())
    task = {"command": command, "arguments": {"prompt": "x", "use_kernels": True}}
    error = session.fail(workflow({"name": "a", "task": task}), rehearse=True)
    assert "'use_kernels'" in error.message

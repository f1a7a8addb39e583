from __future__ import annotations

from pathlib import Path

import pytest

from dw.errors import WorkflowError
from dw.events import Stepped
from tests.engine.session import Session, workflow
from tests.engine.tasks.commands import TEXT, phases, run, step
from tests.engine.test_cancels_at_random import CancelsAtLook


def test_a_prompt_is_answered_and_its_tokens_counted(warm: Session) -> None:
    text = run(warm, "text_generation", TEXT, prompt="a cat", max_new_tokens=12)
    assert len(text) == 12
    last = warm.seen(Stepped)[-1]
    assert (last.name, last.phase, last.position) == ("text_generation", "token", "12/12")


def test_the_same_prompt_has_the_same_answer_and_another_one_another(warm: Session) -> None:
    first, again, other = (
        run(warm, "text_generation", TEXT, prompt=prompt, max_new_tokens=8)
        for prompt in ("a cat", "a cat", "a lighthouse at dawn")
    )
    assert first == again != other


def test_what_the_system_prompt_says_counts(warm: Session) -> None:
    told, other = (
        run(warm, "text_generation", TEXT, prompt="a", system_prompt=text, max_new_tokens=8)
        for text in ("Be brief.", "Write a long prompt.")
    )
    assert told != other


def test_arguments_of_generate_are_passed_on(warm: Session) -> None:
    text = run(
        warm,
        "text_generation",
        TEXT,
        prompt="a cat",
        max_new_tokens=50,
        generate_kwargs={"max_new_tokens": 5},
    )
    assert len(text) == 5


def test_sampling_follows_the_seed(warm: Session) -> None:
    sampled = step(
        "text_generation",
        TEXT,
        prompt="a cat",
        max_new_tokens=12,
        generate_kwargs={"do_sample": True, "temperature": 3.0},
    )
    first, again, other = (
        warm.hashes(workflow(sampled), rehearse=True, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize("command", ["image_to_text", "text_generation"])
def test_an_image_is_described(session: Session, cat: Path, command: str) -> None:
    text = run(session, command, TEXT, image="cat.png", prompt="What is it?", max_new_tokens=6)
    assert len(text) == 6
    assert "token" in phases(session)
    assert [row.class_name for row in session.engine.memory().components] == [
        "Idefics3ForConditionalGeneration",
        "Idefics3Processor",
    ]


def test_a_run_is_cancelled_between_two_tokens(warm: Session) -> None:
    control = CancelsAtLook(40)
    document = workflow(step("text_generation", TEXT, prompt="a cat", max_new_tokens=4000))
    warm.cancel(document, control, rehearse=True)
    assert control.looks == 40


def test_what_does_not_fit_is_found_before_anything_loads(session: Session) -> None:
    wrong = step("text_generation", TEXT, prompt="a cat", max_new_tokens=0)
    error = session.fail(workflow(wrong), rehearse=True)
    assert isinstance(error, WorkflowError)
    assert error.message == "'max_new_tokens' must be at least 1, got 0"
    assert session.events == []

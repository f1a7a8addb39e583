from __future__ import annotations

from collections.abc import Callable

import diffusers
import pytest

from dw.engine.python.annotations import evaluated_signature
from dw.engine.python.signatures import call_parameters


def of_unknown(value: NotThere, count: int) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def of_a_text(value: "str" | None, count: int) -> None: ...  # noqa: UP037


def of_an_unknown_attribute(value: pytest.not_there, count: int) -> None: ...  # type: ignore[name-defined]


@pytest.mark.parametrize("function", [of_unknown, of_a_text, of_an_unknown_attribute])
def test_an_annotation_that_cannot_be_evaluated_stays_a_text(
    function: Callable[..., None],
) -> None:
    assert evaluated_signature(function).parameters["count"].annotation == "int"


def test_the_parameters_of_a_pipeline_with_such_an_annotation_can_be_read() -> None:
    """One of diffusers joins a text and a class with `|`, which fails when evaluated."""
    assert "prompt" in call_parameters(diffusers.LTXI2VLongMultiPromptPipeline)

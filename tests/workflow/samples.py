"""Workflows for the tests, and texts that mark the place of their problem with `¶`."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from dw.errors import WorkflowError
from dw.workflow import Diagnostic, Document, parse_document
from dw.workflow.jsonc import line_column

PATH = Path("w.json")
SEEDS = f"'seed' must be an integer from 0 to {2**32 - 1}"
DRAWN = "; without a seed each run draws one"
MARK = "¶"

PIPELINE: dict[str, Any] = {
    "configuration": {"component_type": "FluxPipeline"},
    "from_pretrained_arguments": {"model_name": "black-forest-labs/FLUX.1-dev"},
    "arguments": {"prompt": "a fox"},
}
STEP: dict[str, Any] = {"name": "gen", "pipeline": PIPELINE}


def pipeline(**changes: Any) -> dict[str, Any]:
    return {**deepcopy(PIPELINE), **changes}


def workflow(*steps: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A workflow of these steps, or of one that is right."""
    return {"id": "w", "steps": list(deepcopy(steps) or (deepcopy(STEP),)), **changes}


def of_pipeline(**changes: Any) -> dict[str, Any]:
    """A workflow of one pipeline step with these keys changed or added."""
    return workflow({"name": "gen", "pipeline": pipeline(**changes)})


def of_task(**arguments: Any) -> dict[str, Any]:
    """A workflow of one task with these arguments."""
    return workflow({"name": "t", "task": {"command": "crop_square", "arguments": arguments}})


def parse(data: Any, path: Path = PATH, **options: Any) -> Document:
    return parse_document(json.dumps(data, indent=1), path, **options)


def problems(text: str, path: Path = PATH) -> tuple[Diagnostic, ...]:
    """All problems of a text that has some."""
    with pytest.raises(WorkflowError) as caught:
        parse_document(text, path)
    return caught.value.problems


def messages(data: Any, path: Path = PATH) -> list[str]:
    """The messages of all problems of data that has some."""
    return [each.message for each in problems(json.dumps(data, indent=1), path)]


def unmarked(text: str) -> tuple[str, int, int]:
    """The text without its mark, and the line and column of the mark."""
    assert text.count(MARK) == 1
    return text.replace(MARK, ""), *line_column(text, text.index(MARK))

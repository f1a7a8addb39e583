"""Answers in generated tokens, read by the processor of an earlier step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from dw.engine.files.access import FileAccess
from dw.engine.tasks import TaskContext, check_reference, run_task
from dw.errors import RunFailed
from tests.engine.models.test_transformers_models import step as pipeline
from tests.engine.session import Session, workflow

IDS = torch.tensor([[0, 7, 3, 2]])


class Florence:
    """What a processor with answers does, in small: tokens are letters, places are of the image."""

    def batch_decode(self, ids: torch.Tensor, *, skip_special_tokens: bool) -> list[str]:
        assert not skip_special_tokens  # places are such tokens
        return ["".join("sabcdefgh"[i] for i in row) for row in ids.tolist()]

    def post_process_generation(self, text: str, *, task: str, image_size: Any = None) -> Any:
        return {task: text, "size": image_size}


def read(processor: Any, **arguments: Any) -> Any:
    context = TaskContext(FileAccess(Path()), lambda: None, models={"processor": processor})
    [answer] = run_task("batch_decode_post_process", arguments, context)
    return answer


def test_an_answer_is_decoded_and_processed() -> None:
    answer = read(Florence(), task="<CAPTION>", generated_ids=IDS)
    assert answer == {"<CAPTION>": "sgcb", "size": None}


def test_places_are_in_the_pixels_of_the_image() -> None:
    image = Image.new("RGB", (40, 20))
    assert read(Florence(), task="<OD>", generated_ids=IDS, image=image)["size"] == (40, 20)


def test_a_processor_that_knows_no_answers_gives_the_text() -> None:
    class Plain:
        def batch_decode(self, ids: torch.Tensor, *, skip_special_tokens: bool) -> list[str]:
            assert skip_special_tokens
            return ["a cat"]

    assert read(Plain(), task="<CAPTION>", generated_ids=IDS) == {"<CAPTION>": "a cat"}


def test_the_processor_is_that_of_the_step_that_is_named(session: Session, cat: Path) -> None:
    loads = {"model_name": "florence-community/Florence-2-base"}
    reading = {"images": "previous_result:picture", "text": "<image><OD>", "return_tensors": "pt"}
    image = {
        "name": "picture",
        "task": {"command": "gather_images", "arguments": {"glob": "*.png"}},
    }
    document = workflow(
        image,
        pipeline("read", "transformers.AutoProcessor", loads, reading),
        pipeline(
            "think",
            "transformers.AutoModelForImageTextToText",
            loads,
            {
                "input_ids": "previous_result:read.input_ids",
                "attention_mask": "previous_result:read.attention_mask",
                "pixel_values": "previous_result:read.pixel_values",
                "max_new_tokens": 4,
            },
            configuration={"generate": True},
        ),
        {
            "name": "answer",
            "task": {
                "command": "batch_decode_post_process",
                "arguments": {
                    "task": "<OD>",
                    "generated_ids": "previous_result:think.generated_ids",
                },
                "pipeline_reference": "read",
            },
            "result": {"content_type": "application/json"},
        },
    )
    [output] = session.run(document, rehearse=True).outputs
    [answer] = json.loads(Path(output.path).read_text(encoding="utf-8")).items()
    assert answer[0] == "<OD>"
    assert len(answer[1]) > 4


def test_what_is_no_processor_is_told() -> None:
    with pytest.raises(RunFailed, match="a Linear cannot decode answers"):
        read(torch.nn.Linear(1, 1), task="<OD>", generated_ids=IDS)


@pytest.mark.parametrize(
    ("command", "reference", "message"),
    [
        (
            "batch_decode_post_process",
            None,
            "batch_decode_post_process needs 'pipeline_reference': the step that has the processor",
        ),
        ("crop_square", "read", "crop_square takes no 'pipeline_reference'"),
    ],
)
def test_a_reference_is_where_it_belongs(command: str, reference: Any, message: str) -> None:
    assert [finding.message for finding in check_reference(command, reference)] == [message]


@pytest.mark.parametrize(
    ("command", "reference"), [("batch_decode_post_process", "read"), ("crop_square", None)]
)
def test_a_reference_that_fits_is_no_problem(command: str, reference: str | None) -> None:
    assert list(check_reference(command, reference)) == []

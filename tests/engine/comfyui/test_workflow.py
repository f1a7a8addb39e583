"""The step within a workflow: its graph in a file, its results in later steps and in files."""

from __future__ import annotations

import json

import pytest

from tests.engine.comfyui.fake import FakeComfyUI
from tests.engine.comfyui.test_step import graph, server
from tests.engine.session import Session

__all__ = ["server"]


def test_a_later_step_takes_the_picture(session: Session, server: FakeComfyUI) -> None:
    (session.folder / "graph.json").write_text(json.dumps(graph()))
    draw = {"server": server.url, "prompt": "graph.json", "inputs": {"1.width": 10}}
    size = {"width": 4, "height": 4}
    arguments = {"image": "previous_result:draw", **size}
    steps = [
        {"name": "draw", "comfyui": draw},
        {
            "name": "cut",
            "task": {"command": "resize_center_crop", "arguments": arguments},
            "result": {"content_type": "image/png"},
        },
    ]
    assert len(session.hashes({"id": "t", "steps": steps}, trust=True)) == 1
    assert server.prompts[0]["1"]["inputs"]["width"] == 10


def test_a_step_without_a_server_says_what_to_set(session: Session) -> None:
    steps = [{"name": "draw", "comfyui": {"prompt": graph()}}]
    error = session.fail({"id": "t", "steps": steps})
    assert "needs 'server'" in error.message
    assert "the setting 'comfyui' is empty" in error.message


@pytest.mark.parametrize("text", ["not json", "[]"])
def test_a_file_that_is_no_graph_is_named(session: Session, server: FakeComfyUI, text: str) -> None:
    (session.folder / "graph.json").write_text(text)
    steps = [{"name": "draw", "comfyui": {"server": server.url, "prompt": "graph.json"}}]
    assert "graph" in session.fail({"id": "t", "steps": steps}, trust=True).message
    assert server.asked == []

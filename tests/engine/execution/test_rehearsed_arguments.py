"""Rehearsed runs: the sizes that are reduced, and those that the user chose."""

from __future__ import annotations

import json
from typing import Any

from PIL import Image

from tests.engine.session import Json, Session, text_to_image


def sized(**arguments: Any) -> Json:
    document = text_to_image("any/model", arguments={"width": "variable:side", **arguments})
    return {**document, "variables": {"side": 512}}


def test_a_rehearsal_is_small_unless_the_user_says_otherwise(session: Session) -> None:
    def size(**chosen: Any) -> tuple[int, int]:
        result = session.run(sized(height=256), rehearse=True, **chosen)
        with Image.open(result.outputs[0].path) as image:
            return image.size

    assert size() == (256, 128)
    assert session.warnings == [
        "step 'gen': rehearsed with height=128 instead of 256, width=256 instead of 512"
    ]
    assert size(side=320) == (320, 256)


def test_what_a_parent_passes_on_is_chosen_by_its_user(session: Session) -> None:
    (session.folder / "child.json").write_text(json.dumps(sized(height=64)))
    call = {"path": "child.json", "arguments": {"side": "variable:width"}}
    parent = {"id": "p", "variables": {"width": 384}, "steps": [{"name": "s", "workflow": call}]}
    assert session.run(parent, rehearse=True).outputs[0].width == 256
    assert session.run(parent, rehearse=True, width=320).outputs[0].width == 320

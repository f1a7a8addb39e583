"""What is known of the files of each step before it runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from diffusers import StableDiffusionPipeline

from dw.engine.checks.results import extents
from dw.engine.files.disk_space import Extent
from tests.engine.checks.test_results import IMAGES, VIDEOS, done, drawn
from tests.engine.session import Json, Session, workflow


class TestExtents:
    def of(self, session: Session, *steps: Json, rehearse: bool = False) -> list[Extent]:
        document = session.document(workflow(*steps))
        return list(extents(document, document.bind(), rehearse=rehearse))

    def test_count_images_and_pixels(self, warm: Session) -> None:
        arguments = {"width": 640, "height": 512, "num_images_per_prompt": 3}
        step = {"name": "gen", **drawn(IMAGES, "image/png", **arguments, prompt=["a", "b"])}
        name = "demo-gen.0-0.0.png"
        assert self.of(warm, step) == [Extent(name, "image/png", 6, 640 * 512)]
        assert self.of(warm, step, rehearse=True) == [Extent(name, "image/png", 1, 0)]

    def test_count_frames_that_are_defaults(self, warm: Session) -> None:
        [extent] = self.of(warm, {"name": "gen", **drawn(VIDEOS, "video/mp4")})
        assert extent == Extent("demo-gen.0-0.0.mp4", "video/mp4", 1, 832 * 480 * 81)

    def test_of_what_is_not_known_are_small(self, warm: Session) -> None:
        steps = [
            {"name": "a", **drawn("DiffusionPipeline", "image/png")},
            {"name": "b", "task": {"command": "gather_inputs", "inputs": [1]}},
            {"name": "c", **done("resize_rescale", "image/png", image=None)},
        ]
        steps[1]["result"] = {"content_type": "text/plain"}
        assert [(extent.files, extent.pixels) for extent in self.of(warm, *steps)] == [
            (1, 0),
            (1, 0),
            (1, 768 * 768),
        ]

    def test_of_commands_count_what_they_are_asked_for(self, warm: Session) -> None:
        asked = done("resize_rescale", "image/png", image=None, width=100, height=50)
        unsaved = done("resize_rescale", "image/png", image=None)
        unsaved["result"]["save"] = False
        steps = [
            {"name": "a", **unsaved},
            {"name": "b", "task": {"command": "gather_inputs", "inputs": [{"image": None}]}},
            {"name": "c", **asked},
            {"name": "d", **asked},
        ]
        found = self.of(warm, *steps)
        assert [(extent.name, extent.pixels) for extent in found] == [
            ("demo-c.2-0.0.png", 5000),
            ("demo-d.3-0.0.png", 5000),
        ]

    def test_count_one_file_where_none_is_asked_for(self, warm: Session) -> None:
        [extent] = self.of(
            warm, {"name": "g", **drawn(IMAGES, "image/png", num_images_per_prompt=0)}
        )
        assert extent.files == 1

    def test_of_sub_workflows_count(self, session: Session) -> None:
        child = session.document(
            workflow({"name": "r", **done("resize_rescale", "image/bmp", image=None)}, id="child")
        )
        Path(session.folder / "child.json").write_text(child.text, encoding="utf-8")
        call = {"name": "sub", "workflow": {"path": "child.json", "arguments": {}}}
        [extent] = self.of(session, call)
        assert extent == Extent("child-r.0-0.0.bmp", "image/bmp", 1, 768 * 768)

    def child(self, session: Session) -> None:
        sides = {"width": "variable:width", "height": "variable:height"}
        step = {"name": "r", **done("resize_rescale", "image/bmp", image=None, **sides)}
        child = workflow(step, id="child", variables={"width": 64, "height": 32})
        (session.folder / "child.json").write_text(json.dumps(child), encoding="utf-8")

    def test_of_sub_workflows_count_what_is_known_of_their_arguments(
        self, session: Session
    ) -> None:
        self.child(session)
        first = {"name": "a", "task": {"command": "gather_inputs", "inputs": [1]}}
        arguments = {"width": 100, "height": "previous_result:a"}
        call = {"name": "sub", "workflow": {"path": "child.json", "arguments": arguments}}
        assert self.of(session, first, call) == [
            Extent("child-r.0-0.0.bmp", "image/bmp", 1, 100 * 32)
        ]

    def test_of_a_rehearsal_are_those_of_names_alone(self, session: Session) -> None:
        self.child(session)
        call = {"name": "sub", "workflow": {"path": "child.json", "arguments": {}}}
        call["result"] = {"content_type": "image/png"}
        last = {"name": "c", **done("resize_rescale", "image/png", image=None)}
        small = [
            Extent("child-r.0-0.0.bmp", "image/bmp"),
            Extent("demo-sub.0-0.0.png", "image/png"),
            Extent("demo-c.1-0.0.png", "image/png"),
        ]
        assert self.of(session, call, last, rehearse=True) == small
        large = [(extent.name, extent.pixels) for extent in self.of(session, call, last)]
        assert large == list(zip([each.name for each in small], [2048, 0, 768 * 768], strict=True))

    @pytest.mark.parametrize(
        "cls",
        [
            "DiffusionPipeline",
            "AutoPipelineForText2Image",
            "ModularPipeline",
            "transformers.pipeline",
        ],
    )
    def test_of_what_is_not_known_before_it_loads_are_as_asked_for(
        self, session: Session, cls: str
    ) -> None:
        step = {"name": "g", **drawn(cls, "image/png", width=64, height=32)}
        assert self.of(session, step) == [Extent("demo-g.0-0.0.png", "image/png", 1, 64 * 32)]

    def test_of_classes_of_ones_own_have_their_defaults(self, session: Session) -> None:
        own = workflow({"name": "g", **drawn(f"{__name__}.Own", "image/png")})
        document = session.document(own, trust=True)
        [extent] = extents(document, document.bind(), rehearse=False)
        assert extent.pixels == 48 * 16


class Own(StableDiffusionPipeline):  # type: ignore[misc]
    def __call__(self, prompt: str, width: int = 48, height: int = 16) -> None: ...

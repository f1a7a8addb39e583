"""Objects that a workflow builds, with classes of diffusers that are built so."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
import pytest
from diffusers.modular_pipelines.minimax_h3 import (
    MiniMaxH3AudioReference,
    MiniMaxH3ImageReference,
    MiniMaxH3VideoReference,
)
from PIL import Image

from dw.engine.files import download
from dw.engine.files.access import FileAccess
from dw.engine.files.objects import built
from dw.engine.media.audio import Audio
from dw.engine.media.video import Video
from dw.errors import RunFailed
from tests.engine.session import PNG, TRUSTED, Json, Session, generate, workflow

MODULE = "diffusers.modular_pipelines.minimax_h3"
IMAGE, VIDEO, AUDIO = (f"{MODULE}.MiniMaxH3{kind}Reference" for kind in ("Image", "Video", "Audio"))


def gather(value: Any, name: str = "made") -> Json:
    return {"name": name, "task": {"command": "gather_inputs", "inputs": [value]}}


def small(image: Any, side: int = 8) -> Json:
    arguments = {"image": image, "width": side, "height": side}
    return {
        "name": "small",
        "task": {"command": "resize_rescale", "arguments": arguments},
        "result": PNG,
    }


def held(session: Session, reference: Json, *before: Json) -> list[str]:
    """The images that an image reference turns out to hold, each made small."""
    return session.hashes(workflow(*before, gather(reference), small("previous_result:made.image")))


@pytest.fixture
def video(session: Session) -> str:
    """Three frames of 64x64 at 12 frames per second, without audio."""
    path = session.folder / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.width = stream.height = 64
        for level in (0, 100, 200):
            image = np.full((64, 64, 3), level, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode())
    return path.name


class TestFromFile:
    def test_it_holds_the_image(self, session: Session, cat: Path) -> None:
        reference = {"reference_type": IMAGE, "from_file": "cat.png"}
        assert held(session, reference) == session.hashes(workflow(small("cat.png")))

    def test_the_file_may_be_an_argument(self, session: Session, cat: Path) -> None:
        reference = {"reference_type": IMAGE, "from_file": "variable:place"}
        document = workflow(
            gather(reference), small("previous_result:made.image"), variables={"place": None}
        )
        assert len(session.hashes(document, place=str(cat))) == 1

    def test_a_url_is_fetched_with_the_limits_of_dw(
        self, session: Session, cat: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []

        def fetch(url: str, **_: Any) -> bytes:
            asked.append(url)
            return cat.read_bytes()

        monkeypatch.setattr("dw.engine.files.access.fetch", fetch)
        url = "https://example.com/cat.png?size=1"
        reference = {"reference_type": IMAGE, "from_file": url}
        assert held(session, reference) == session.hashes(workflow(small("cat.png")))
        assert asked == [url]
        assert download.fetch is not fetch

    def test_further_keys_become_attributes(self, session: Session, video: str) -> None:
        access = FileAccess(session.folder)
        cls = MiniMaxH3VideoReference
        made = built({"reference_type": cls, "from_file": video}, access)
        slowed = built({"reference_type": cls, "from_file": video, "fps": 6.0}, access)
        assert (made.fps, slowed.fps) == (12.0, 6.0)
        assert len(made.frames) == len(slowed.frames) == 3

    def test_further_keys_go_to_from_file_if_it_takes_them(self, session: Session) -> None:
        class Taking:
            @classmethod
            def from_file(cls, path: str, **options: Any) -> Json:
                return {"path": path, **options}

        (session.folder / "a.png").touch()
        value = {"a_type": Taking, "from_file": "a.png", "size": 5}
        path = str(session.folder / "a.png")
        access = FileAccess(session.folder, permissions=TRUSTED)
        assert built(value, access) == {"path": path, "size": 5}
        with pytest.raises(RunFailed, match="Taking is not a class of objects that a workflow may"):
            built(value, FileAccess(session.folder))

    @pytest.mark.parametrize("cls", [MiniMaxH3ImageReference, MiniMaxH3VideoReference])
    def test_a_file_is_of_a_known_format(self, session: Session, cls: Any) -> None:
        Image.new("RGB", (8, 8)).save(session.folder / "a.tga")
        (session.folder / "a.tga").rename(session.folder / "cat.png")
        value = {"a_type": cls, "from_file": "cat.png"}
        with pytest.raises(RunFailed, match=f"cannot read the {cls.kind} 'cat.png'"):
            built(value, FileAccess(session.folder))

    def test_a_file_outside_is_refused(self, session: Session, tmp_path_factory: Any) -> None:
        outside = tmp_path_factory.mktemp("other") / "cat.png"
        Image.new("RGB", (8, 8)).save(outside)
        value = {"a_type": MiniMaxH3VideoReference, "from_file": str(outside)}
        with pytest.raises(RunFailed, match="outside of the workflow's folder"):
            built(value, FileAccess(session.folder))


class TestFromPreviousResult:
    REFERENCE: ClassVar[Json] = {"reference_type": IMAGE, "from_previous_result": "gen"}

    def test_it_holds_the_image_of_the_step(self, session: Session, sd15: Path) -> None:
        image, *images = held(session, self.REFERENCE, generate(sd15))
        assert images == session.hashes(workflow(generate(sd15), small("previous_result:gen")))[1:]
        assert image == session.hashes(workflow(generate(sd15)))[0]

    def test_each_image_of_a_batch_makes_one(self, session: Session, sd15: Path) -> None:
        batch = generate(sd15, arguments={"num_images_per_prompt": 3})
        assert len(set(held(session, self.REFERENCE, batch))) == 6

    def test_a_result_lives_until_its_object_is_built(self, session: Session, sd15: Path) -> None:
        between = gather("nothing", "between")
        assert len(held(session, self.REFERENCE, generate(sd15), between)) == 2

    def test_a_video_reference_takes_frames_and_their_audio(self, session: Session) -> None:
        frames, audio = np.zeros((2, 8, 8, 3), np.uint8), Audio(np.zeros((100, 2), "f"), 44_100)
        make = {"a_type": MiniMaxH3VideoReference, "fps": 12.0}
        silent, loud = (
            built({**make, "from_previous_result": each}, FileAccess(session.folder))
            for each in (frames, Video(frames, audio))
        )
        assert all(isinstance(frame, Image.Image) for frame in silent.frames)
        assert (silent.audio, silent.fps) == (None, 12.0)
        assert (loud.audio.shape, loud.sample_rate) == ((2, 100), 44_100)

    def test_an_audio_reference_takes_a_waveform(self, session: Session) -> None:
        audio = Audio(np.zeros((100, 1), "f"), 16_000)
        value = {"a_type": MiniMaxH3AudioReference, "from_previous_result": audio}
        made = built(value, FileAccess(session.folder))
        assert (made.audio.shape, made.sample_rate) == ((1, 100), 16_000)


class TestFromArguments:
    def test_its_arguments_are_read_as_any_are(self, session: Session, cat: Path) -> None:
        reference = {"reference_type": IMAGE, "from_arguments": {"image": "cat.png"}}
        assert held(session, reference) == session.hashes(workflow(small("cat.png")))

    def test_they_may_be_results(self, session: Session, sd15: Path) -> None:
        inner = {"image": "previous_result:gen"}
        reference = {"reference_type": IMAGE, "from_arguments": inner}
        same = {"reference_type": IMAGE, "from_previous_result": "gen"}
        step = generate(sd15)
        assert held(session, reference, step) == held(session, same, step)

    def test_objects_are_built_inside_of_objects(self, session: Session, cat: Path) -> None:
        inner = {"reference_type": IMAGE, "from_file": "cat.png"}
        outer = {"reference_type": IMAGE, "from_arguments": {"image": inner}}
        document = workflow(gather(outer), small("previous_result:made.image"))
        assert "Reference" in session.fail(document).message  # a reference is no image


def test_what_holds_nothing_to_build_is_the_same_object(session: Session) -> None:
    value = {"a": [1, {"b": (2, 3)}]}
    assert built(value, FileAccess(session.folder)) is value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a_type": f"{MODULE}.Nobody", "from_file": "a.png"}, f"{MODULE} has no 'Nobody'"),
        (
            {"a_type": "transformers.Trainer", "from_arguments": {}},
            "'transformers.Trainer' is not a class of objects that a workflow may make",
        ),
        (
            {"a_type": "torch.float16", "from_arguments": {}},
            "'torch.float16' is not a class of objects that a workflow may make",
        ),
        (
            {"a_type": "torch.Generator", "from_file": "a.png"},
            "Generator cannot be made 'from_file'",
        ),
        (
            {"a_type": IMAGE, "from_file": "a.png", "imag": 5},
            "MiniMaxH3ImageReference has no 'imag' (did you mean 'image'?)",
        ),
        (
            {"a_type": VIDEO, "from_file": "a.mp4", "width": 5},
            "MiniMaxH3VideoReference has no 'width'; it has frames, fps, audio, sample_rate",
        ),
        (
            {"a_type": "torch.Generator", "from_previous_result": "first"},
            "Generator cannot be made from a result: its attribute 'kind' must be one of image, "
            "video, audio",
        ),
        (
            {"a_type": AUDIO, "from_previous_result": "first", "sample_rat": 5},
            "MiniMaxH3AudioReference takes no 'sample_rat' (did you mean 'sample_rate'?)",
        ),
        (
            {"a_type": VIDEO, "from_arguments": {"fps": "fast"}},
            "'fps' must be a number, got 'fast'",
        ),
        (
            {"a_type": "EulerDiscreteScheduler", "from_arguments": {"shift": 3}},
            "EulerDiscreteScheduler takes no 'shift'",
        ),
    ],
)
def test_what_does_not_fit_a_class_is_told_before_anything_is_built(
    warm: Session, value: Json, message: str
) -> None:
    document = warm.document(workflow(gather("x", "first"), gather({"reference": value})))
    found = [problem.message for problem in warm.engine.check(document)]
    assert found[0].startswith(message)


def test_a_class_in_an_argument_is_of_a_known_package(session: Session) -> None:
    error = session.fail(workflow(gather({"attn_type": "torch.hub.Path"})))
    assert "would import 'torch.hub.Path', which is not in a module of models" in error.message

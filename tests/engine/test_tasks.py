from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dw.engine.reach import Reach
from dw.engine.tasks import TaskContext, check_task, run_task
from dw.errors import RunFailed

CONTEXT = TaskContext(Reach(Path()), lambda: None)
WIDE = Image.linear_gradient("L").resize((200, 100)).convert("RGB")


def run(command: str, **arguments: Any) -> Any:
    [result] = run_task(command, arguments, CONTEXT)
    return result


@pytest.mark.parametrize(
    ("command", "arguments", "size"),
    [
        ("resize_center_crop", {"width": 64, "height": 64}, (64, 64)),
        ("resize_rescale", {"width": 30, "height": 50}, (30, 50)),
        ("resize_resample", {"resolution": 128}, (256, 128)),
        ("resize_bucket", {"resolution": 512}, (704, 384)),
        ("resize_bucket", {"resolution": 512, "ratios": ["1:1"]}, (512, 512)),
        ("resize_bucket", {"resolution": 512, "ratios": ["2:1"], "alignment": 8}, (728, 360)),
        ("crop_square", {}, (100, 100)),
        ("strip_exif", {}, (200, 100)),
        ("add_watermark", {}, (200, 100)),
        ("canny_cv", {}, (200, 100)),
    ],
)  # fmt: skip
def test_pictures_come_out_in_their_size(command: str, arguments: Any, size: Any) -> None:
    assert run(command, image=WIDE, **arguments).size == size


def test_a_crop_keeps_the_middle() -> None:
    assert run("crop_square", image=WIDE).getpixel((0, 50)) == WIDE.getpixel((50, 50))


def test_the_size_is_told() -> None:
    assert run("get_image_size", image=WIDE) == {"width": 200, "height": 100}


def test_exif_is_gone_and_the_picture_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    turned = WIDE.copy()
    turned.getexif().update(exif)
    stripped = run("strip_exif", image=turned)
    assert stripped.size == (100, 200)
    assert not stripped.getexif()


def test_a_border_is_white_in_the_mask_and_aligned() -> None:
    result = run("add_border_and_mask", image=WIDE, zoom_all=2, overlap=10)
    canvas, mask = result["bordered_image"], result["mask"]
    assert canvas.size == mask.size == (416, 224)
    assert mask.getpixel((0, 0)) == mask.getpixel((105, 60)) == 255
    assert mask.getpixel((200, 100)) == 0
    assert canvas.getpixel((200, 100)) == WIDE.getpixel((100, 50))


def test_a_border_of_a_given_size_shrinks_what_is_too_large() -> None:
    result = run("add_border_and_mask_with_size", image=WIDE, width=100, height=100)
    assert result["bordered_image"].size == (100, 100)
    assert np.count_nonzero(np.asarray(result["mask"]) == 0) == 100 * 50


def test_a_watermark_is_where_it_should_be() -> None:
    black = Image.new("RGB", (200, 100))
    marked = np.asarray(run("add_watermark", image=black, position="top-left", opacity=255))
    assert marked[:50, :100].any()
    assert not marked[50:].any()


class TestEdges:
    def test_a_square_has_four_thin_edges(self) -> None:
        picture = Image.new("RGB", (64, 64))
        picture.paste("white", (16, 16, 48, 48))
        edges = np.asarray(run("canny_cv", image=picture))[..., 0] > 0
        assert edges[32].sum() == edges[:, 32].sum() == 2
        assert not edges[20:44, 20:44].any()
        assert not edges[:12].any()

    def test_weak_edges_live_where_they_hang_on_strong_ones(self) -> None:
        step = np.zeros((40, 40), np.uint8)
        step[:20, 20:] = 255  # a strong half
        step[20:, 20:] = 30  # goes on weakly
        lonely = np.where(step == 30, 30, 0).astype(np.uint8)
        assert self._edges(step)[30].any()
        assert not self._edges(lonely)[30, 15:25].any()

    def test_a_flat_picture_has_none(self) -> None:
        assert not self._edges(np.full((16, 16), 99, np.uint8)).any()

    @staticmethod
    def _edges(pixels: Any) -> Any:
        return np.asarray(run("canny_cv", image=Image.fromarray(pixels)))[..., 0] > 0


def test_a_chat_has_two_messages() -> None:
    chat = run("format_chat_message", system_prompt="be brief", user_message="hello")
    assert [message["role"] for message in chat["text_inputs"]] == ["system", "user"]


@pytest.mark.parametrize(
    ("keep", "expected"),
    [(True, "Sure.\n\nPrompt:\na cat"), (False, "Prompt:\na cat")],
)
def test_sections_are_taken_out_of_a_text(keep: bool, expected: str) -> None:
    text = "Sure.\n\n## Notes\nnone\n\nPrompt:\na cat\n\n**Style**\nold"
    assert run("extract_sections", text=text, sections=["prompt"], keep_preamble=keep) == expected


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("crop_sqare", {}, "there is no command 'crop_sqare' (did you mean 'crop_square'?)"),
        ("crop_square", {}, "crop_square needs 'image'"),
        ("get_image_size", {"image": 1, "x": 1}, "get_image_size takes no 'x'"),
        ("crop_square", 3, "crop_square takes named arguments: image"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_before_it_runs(
    command: str, arguments: Any, message: str
) -> None:
    assert [text for _, text in check_task(command, arguments)] == [message]
    with pytest.raises(RunFailed):
        run_task(command, arguments, CONTEXT)


def test_no_pictures_to_gather_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"no pictures match '\*\.png'"):
        run_task("gather_images", {"glob": "*.png"}, TaskContext(Reach(tmp_path), lambda: None))


def test_a_missing_key_is_named_with_the_nearest() -> None:
    with pytest.raises(RunFailed, match="did you mean 'width'"):
        run("get_dict_value", dict={"width": 1}, key="widht")

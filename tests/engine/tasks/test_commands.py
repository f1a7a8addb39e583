from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from dw.engine.files.access import FileAccess
from dw.engine.tasks import TaskContext, check_task, run_task
from dw.errors import RunFailed
from dw.extras import install
from dw.pixels import eight_bits

CONTEXT = TaskContext(FileAccess(Path()), lambda: None)
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
        ("resize_bucket", {"resolution": 512, "ratios": [1, 0.5]}, (512, 512)),
        ("resize_bucket", {"resolution": 512, "ratios": ["2:1"], "alignment": 8}, (728, 360)),
        ("crop_square", {}, (100, 100)),
        ("strip_exif", {}, (200, 100)),
        ("add_watermark", {}, (200, 100)),
        ("canny_cv", {}, (200, 100)),
    ],
)  # fmt: skip
def test_images_come_out_in_their_size(command: str, arguments: Any, size: Any) -> None:
    assert run(command, image=WIDE, **arguments).size == size


def test_a_crop_keeps_the_middle() -> None:
    assert run("crop_square", image=WIDE).getpixel((0, 50)) == WIDE.getpixel((50, 50))


def test_the_size_is_told() -> None:
    assert run("get_image_size", image=WIDE) == {"width": 200, "height": 100}


def test_exif_is_gone_and_the_image_upright() -> None:
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
        image = Image.new("RGB", (64, 64))
        image.paste("white", (16, 16, 48, 48))
        edges = np.asarray(run("canny_cv", image=image))[..., 0] > 0
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

    def test_a_flat_image_has_none(self) -> None:
        assert not self._edges(np.full((16, 16), 99, np.uint8)).any()

    @staticmethod
    def _edges(pixels: Any) -> Any:
        return np.asarray(run("canny_cv", image=Image.fromarray(pixels)))[..., 0] > 0


class TestQrCode:
    def test_it_is_as_large_as_the_larger_side_in_multiples_of_64(self) -> None:
        assert run("qr_code", qr_code_contents="hello", width=500, height=300).size == (512, 512)

    def test_its_corners_are_white_and_its_finders_black(self) -> None:
        pixels = np.asarray(run("qr_code", qr_code_contents="hello", width=640, height=640))[..., 0]
        module = 640 / (21 + 2 * 4)  # version 1 and the quiet zone
        finder = [pixels[int(module * (4.5 + i)), int(module * 7.5)] for i in range(7)]
        assert finder == [0, 255, 0, 0, 0, 255, 0]
        assert pixels[: int(module * 4)].min() == 255

    def test_it_holds_what_it_was_given(self) -> None:
        address = "https://example.com/lighthouse?at=dawn"
        image = np.asarray(run("qr_code", qr_code_contents=address, width=1024))
        found, _, _ = cv2.QRCodeDetector().detectAndDecode(image)
        assert found == address

    def test_what_it_cannot_hold_is_told(self) -> None:
        with pytest.raises(RunFailed, match="a QR code cannot hold 2000 characters"):
            run("qr_code", qr_code_contents="x" * 2000)


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
        ("crop_sqare", {}, "unknown command 'crop_sqare' (did you mean 'crop_square'?)"),
        ("crop_square", {}, "crop_square needs 'image'"),
        ("get_image_size", {"image": WIDE, "x": 1}, "get_image_size takes no 'x'"),
        ("crop_square", {"image": 1}, "'image' must be of the type Image, got 1"),
        (
            "add_watermark",
            {"image": WIDE, "position": "botom-left"},
            "'position' must be one of 'top-left', 'top-right', 'bottom-left', 'bottom-right', "
            "'center', got 'botom-left' (did you mean 'bottom-left'?)",
        ),
        (
            "add_watermark",
            {"image": WIDE, "opacity": 256},
            "'opacity' must be at most 255, got 256",
        ),
        (
            "resize_rescale",
            {"image": WIDE, "width": "wide"},
            "'width' must be an integer, got 'wide'",
        ),
        (
            "crop_square",
            {"image": WIDE, "device": "gpu"},
            "'device' must be auto, cpu, mps, cuda or cuda:N, got 'gpu'",
        ),
        ("crop_square", 3, "crop_square takes named arguments: image"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_before_it_runs(
    command: str, arguments: Any, message: str
) -> None:
    assert [each.message for each in check_task(command, arguments)] == [message]
    with pytest.raises(RunFailed):
        run_task(command, arguments, CONTEXT)


@pytest.mark.parametrize(
    "arguments",
    [
        {"image": "photo.png", "width": "previous_result:size.width"},
        {"image": {"location": "photo.png"}},
        {"image": None},
        {"image": "previous_result:draw", "device": "cuda:1"},
    ],
)
def test_what_is_not_there_yet_is_not_judged(arguments: Any) -> None:
    assert list(check_task("resize_rescale", arguments)) == []


def test_an_image_that_was_not_read_is_told_when_it_runs() -> None:
    with pytest.raises(RunFailed, match=r"'image' must be of the type Image, got 'photo\.png'"):
        run("crop_square", image="photo.png")


def test_no_images_to_gather_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"no images match '\*\.png'"):
        run_task(
            "gather_images", {"glob": "*.png"}, TaskContext(FileAccess(tmp_path), lambda: None)
        )


@pytest.mark.parametrize("ratio", ["wide", "16:0", 0, "-1:2"])
def test_a_ratio_that_is_none_is_told(ratio: Any) -> None:
    with pytest.raises(RunFailed, match="a ratio must be written as '16:9'"):
        run("resize_bucket", image=WIDE, ratios=[ratio])


def test_a_watermark_takes_a_colour_by_name_or_by_parts() -> None:
    black = Image.new("RGB", (200, 100))
    named, parts = (run("add_watermark", image=black, color=c) for c in ("red", [255, 0, 0]))
    assert named.tobytes() == parts.tobytes() != black.tobytes()
    assert np.asarray(named)[..., 1:].max() == 0


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(RunFailed, match=r"a library is missing: .*cv2") as failure:
        run("canny_cv", image=WIDE)
    assert failure.value.hints == (install("cv2"),)


def test_a_missing_key_is_named_with_the_nearest() -> None:
    with pytest.raises(RunFailed, match="did you mean 'width'"):
        run("get_dict_value", dict={"width": 1}, key="widht")


RAMP = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
DEEP = Image.fromarray(RAMP.astype(np.uint16) * 257)


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("resize_rescale", {"width": 256, "height": 64}),
        ("resize_center_crop", {"width": 256, "height": 64}),
        ("strip_exif", {}),
        ("add_watermark", {"text": " "}),
        ("add_border_and_mask_with_size", {"width": 256, "height": 64}),
    ],
)
def test_greys_of_16_bits_are_not_clipped(command: str, arguments: Any) -> None:
    made = run(command, image=DEEP, **arguments)
    image = made["bordered_image"] if isinstance(made, dict) else made
    assert np.array_equal(np.asarray(eight_bits(image).convert("L")), RAMP)


def test_a_square_of_a_large_image_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64)
    image = Image.fromarray(RAMP)
    square = np.asarray(run("crop_square", image=image))
    assert np.array_equal(square, RAMP[:, 96:160])

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from dw.engine.files.access import FileAccess
from dw.engine.files.inputs import read_image, read_video
from dw.engine.media.encoding import Encoded, verify
from dw.engine.media.encoding import encode as encode_as
from dw.engine.media.exif import EXIF_IFD, USER_COMMENT
from dw.engine.media.image import FORMATS, as_image
from dw.engine.media.media_info import MediaInfo
from dw.engine.media.video import Video
from dw.errors import RunFailed
from dw.pixels import eight_bits
from dw.workflow.format.result import Result

IMAGE = Image.radial_gradient("L").resize((48, 32)).convert("RGB")
CLIP = [IMAGE.rotate(angle) for angle in (0, 10, 20)]


def encode(value: Any, content_type: str, metadata: Any = None, **keys: Any) -> Encoded:
    return encode_as(value, Result(content_type=content_type, **keys), metadata)


@pytest.mark.parametrize("content_type", FORMATS)
def test_an_image_is_read_back_in_its_size(content_type: str) -> None:
    encoded = encode(IMAGE, content_type)
    assert encoded.extent == MediaInfo(48, 32, 1)
    verify(io.BytesIO(encoded.data), content_type, encoded.extent)


@pytest.mark.parametrize("content_type", ["image/gif", "video/mp4"])
def test_a_clip_is_read_back_with_all_its_frames(content_type: str) -> None:
    encoded = encode(CLIP, content_type, fps=5)
    assert encoded.extent == MediaInfo(48, 32, 3)
    verify(io.BytesIO(encoded.data), content_type, encoded.extent)


@pytest.mark.parametrize("content_type", [*FORMATS, "image/gif"])
def test_the_bytes_depend_on_the_image_alone(content_type: str) -> None:
    value = CLIP if content_type == "image/gif" else IMAGE
    assert encode(value, content_type).data == encode(value, content_type).data


def test_png_keeps_every_pixel() -> None:
    read = Image.open(io.BytesIO(encode(IMAGE, "image/png").data))
    assert np.array_equal(np.asarray(read), np.asarray(IMAGE))


@pytest.mark.parametrize("mode", ["RGBA", "L", "LA", "P", "1", "I;16"])
def test_jpeg_takes_images_of_any_mode(mode: str) -> None:
    read = Image.open(io.BytesIO(encode(Image.new(mode, (8, 8)), "image/jpeg").data))
    assert (read.format, read.size) == ("JPEG", (8, 8))


@pytest.mark.parametrize(
    ("array", "size"),
    [
        (np.zeros((8, 16, 3), np.uint8), (16, 8)),
        (np.zeros((8, 16, 3), np.float32), (16, 8)),
        (np.zeros((8, 16, 1), np.float32), (16, 8)),
        (np.zeros((8, 16), np.float32), (16, 8)),
    ],
)
def test_arrays_are_images_too(array: Any, size: tuple[int, int]) -> None:
    extent = encode(array, "image/png").extent
    assert (extent.width, extent.height) == size


@pytest.mark.parametrize(
    ("value", "content_type", "message"),
    [
        (CLIP, "image/png", "image/png cannot hold a list of 3 Images"),
        ("words", "image/png", "image/png cannot hold a text"),
        ("words", "video/mp4", "video/mp4 cannot hold a text"),
        ([], "video/mp4", "video/mp4 cannot hold an empty list"),
        (IMAGE, "text/plain", "text/plain cannot hold an image"),
        ({"a": IMAGE}, "application/json", "application/json cannot hold a mapping of a"),
        (np.zeros(3), "image/png", "image/png cannot hold an array of shape (3,)"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(value: Any, content_type: str, message: str) -> None:
    with pytest.raises(RunFailed) as caught:
        encode(value, content_type)
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize(
    "value",
    [
        CLIP[:1],
        Video(CLIP[:1]),
        np.asarray(CLIP[0])[None],
        torch.from_numpy(np.array(CLIP[0]))[None].movedim(-1, 1) / 255,
    ],
)
@pytest.mark.parametrize("content_type", ["image/png", "image/jpeg"])
def test_a_video_of_one_frame_is_an_image(value: Any, content_type: str) -> None:
    assert encode(value, content_type).data == encode(CLIP[0], content_type).data


def test_json_holds_plain_values() -> None:
    assert json.loads(encode({"width": 3}, "application/json").data) == {"width": 3}


class TestMetadata:
    METADATA: ClassVar = {"step": "gen", "arguments": {"prompt": "Katze, größer"}}

    def test_png_has_it_as_text(self) -> None:
        data = encode(IMAGE, "image/png", metadata=self.METADATA).data
        assert json.loads(Image.open(io.BytesIO(data)).info["parameters"]) == self.METADATA

    @pytest.mark.parametrize("content_type", ["image/jpeg", "image/webp"])
    def test_the_others_have_it_as_a_comment(self, content_type: str) -> None:
        data = encode(IMAGE, content_type, metadata=self.METADATA).data
        comment = Image.open(io.BytesIO(data)).getexif().get_ifd(EXIF_IFD)[USER_COMMENT]
        assert comment.startswith(b"UNICODE\0")
        assert json.loads(comment[8:].decode("utf-16-be")) == self.METADATA

    def test_media_are_told_by_their_content(self) -> None:
        def embedded(image: Image.Image) -> bytes:
            arguments = {"image": image, "mask": np.asarray(image), "dtype": torch.float16}
            return encode(IMAGE, "image/png", metadata={"arguments": arguments}).data

        assert embedded(IMAGE) == embedded(IMAGE.copy())
        assert embedded(IMAGE) != embedded(IMAGE.rotate(90))
        assert b" at 0x" not in embedded(IMAGE)

    def test_the_comment_is_of_the_type_and_order_that_tools_read(self) -> None:
        """The entry of the comment as Exif 2.32 has it: exiftool, exiv2 and piexif read it so."""
        data = encode(IMAGE, "image/jpeg", metadata=self.METADATA).data
        block = data[data.index(b"Exif\0\0") + 6 :]
        assert block[:4] == b"MM\0*"
        root = struct.unpack_from(">L", block, 4)[0]
        assert struct.unpack_from(">HHHLL", block, root)[:4] == (1, EXIF_IFD, 4, 1)
        inner = struct.unpack_from(">L", block, root + 10)[0]
        tag, kind, count, at = struct.unpack_from(">HHLL", block, inner + 2 + 12)
        assert (struct.unpack_from(">H", block, inner)[0], tag, kind) == (2, USER_COMMENT, 7)
        comment = block[at : at + count]
        assert comment[:8] == b"UNICODE\0"
        assert json.loads(comment[8:].decode("utf-16-be")) == self.METADATA
        assert struct.unpack_from(">HHL4s", block, inner + 2) == (0x9000, 7, 4, b"0232")
        assert block[inner + 26 : inner + 30] == bytes(4)  # no further directory

    def test_a_character_beyond_ucs_2_is_an_escape(self) -> None:
        data = encode(IMAGE, "image/jpeg", metadata={"prompt": "a 🦊"}).data
        assert "a \\ud83e\\udd8a".encode("utf-16-be") in data

    @pytest.mark.parametrize("content_type", ["image/png", "image/jpeg", "image/webp"])
    def test_what_no_json_holds_is_text(self, content_type: str) -> None:
        metadata = {"half": "\ud800", "none": float("nan")}
        data = encode(IMAGE, content_type, metadata=metadata).data
        assert _embedded(data) == {"half": "\ud800", "none": "nan"}

    @pytest.mark.parametrize("words", [32_000, 33_000, 500_000])
    def test_what_a_jpeg_cannot_hold_is_shortened(self, words: int, warnings: list[str]) -> None:
        metadata = {"step": "gen", "seed": 7, "arguments": {"prompt": "w" * words, "n": 1}}
        found = _embedded(encode(IMAGE, "image/jpeg", metadata=metadata).data)
        if words == 32_000:
            assert (found, warnings) == (metadata, [])
            return
        assert found["arguments"] == {"prompt": f"{'w' * 4095}…", "n": 1}
        assert (found["step"], found["seed"], found["shortened"]) == ("gen", 7, True)
        assert [note.split(",")[0] for note in warnings] == [
            "the metadata of an image is longer than its format holds"
        ]

    def test_the_longest_that_a_jpeg_holds_is_whole(self, warnings: list[str]) -> None:
        def made(words: int) -> Any:
            return _embedded(encode(IMAGE, "image/jpeg", metadata={"p": "w" * words}).data)

        most = (65_533 - 6 - 56 - 8) // 2 - len('{"p": ""}')
        assert made(most) == {"p": "w" * most}
        assert warnings == []
        assert made(most + 1)["shortened"]

    def test_arguments_that_cannot_be_shortened_are_left_out(self) -> None:
        metadata = {"step": "s" * 99, "arguments": {"sigmas": list(range(20_000))}}
        found = _embedded(encode(IMAGE, "image/jpeg", metadata=metadata).data)
        assert found == {"step": f"{'s' * 15}…", "shortened": True}

    @pytest.mark.parametrize("content_type", ["image/png", "image/webp"])
    def test_others_hold_all(self, content_type: str, warnings: list[str]) -> None:
        metadata = {"prompt": "w" * 100_000}
        assert _embedded(encode(IMAGE, content_type, metadata=metadata).data) == metadata
        assert warnings == []


def _embedded(data: bytes) -> Any:
    image = Image.open(io.BytesIO(data))
    if "parameters" in image.info:
        return json.loads(image.info["parameters"])
    comment = image.getexif().get_ifd(EXIF_IFD)[USER_COMMENT]
    return json.loads(comment[8:].decode("utf-16-be"))


@pytest.mark.parametrize("content_type", [*FORMATS, "image/gif"])
def test_nothing_of_an_input_is_in_a_result(content_type: str) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8825)[1] = "N"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = IMAGE.copy()
    image.info = {
        "comment": b"SECRET",
        "xmp": b"<x>SECRET</x>",
        "exif": exif.tobytes(),
        "icc_profile": profile,
        "Description": "SECRET",
        "dpi": (300, 300),
        "gamma": 0.45,
    }
    assert encode(image, content_type).data == encode(IMAGE, content_type).data


class TestGreys:
    RAMP = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
    DEEP = Image.fromarray(RAMP.astype(np.uint16) * 257)
    FLOATS = Image.fromarray(RAMP.astype(np.float32) / 255)
    INTEGERS = Image.fromarray(RAMP.astype(np.int32) * 257)
    BIG_ENDIAN = Image.frombytes("I;16B", (256, 64), (RAMP.astype(">u2") * 257).tobytes())

    @pytest.mark.parametrize("content_type", [*FORMATS, "image/gif", "video/mp4"])
    @pytest.mark.parametrize("image", [DEEP, FLOATS, INTEGERS, BIG_ENDIAN], ids=lambda i: i.mode)
    def test_are_scaled_in_every_format(self, image: Image.Image, content_type: str) -> None:
        data = encode([image] if content_type == "video/mp4" else image, content_type).data
        if content_type == "video/mp4":
            with av.open(io.BytesIO(data)) as file:
                read = next(file.decode(video=0)).to_image()
        else:
            read = Image.open(io.BytesIO(data))
        shown = np.asarray(eight_bits(read).convert("L")).astype(int)
        assert np.abs(shown - self.RAMP).max() <= (8 if content_type == "video/mp4" else 3)

    @pytest.mark.parametrize("image", [DEEP, FLOATS, INTEGERS, BIG_ENDIAN], ids=lambda i: i.mode)
    def test_keep_16_bits_in_a_png(self, image: Image.Image) -> None:
        read = Image.open(io.BytesIO(encode(image, "image/png").data))
        assert read.mode == "I;16"
        assert np.array_equal(np.asarray(read), self.RAMP.astype(int) * 257)

    def test_keep_their_numbers_in_a_tiff(self, warnings: list[str]) -> None:
        depth = Image.fromarray(self.RAMP.astype(np.float32) * 1.5)
        read = Image.open(io.BytesIO(encode(depth, "image/tiff").data))
        assert np.array_equal(np.asarray(read), np.asarray(depth))
        assert warnings == []

    def test_of_an_unknown_range_are_told(self, warnings: list[str]) -> None:
        encode(Image.fromarray(self.RAMP.astype(np.float32) * 2), "image/jpeg")
        assert ["values run from 0 to 510" in note for note in warnings] == [True]

    @pytest.mark.parametrize(
        ("array", "expected"),
        [
            (RAMP.astype(np.uint16) * 257, "I;16"),
            (RAMP.astype(np.int64) * 257, "I;16"),
            (RAMP.astype(np.int64), "L"),
            (RAMP > 127, "L"),
            ((RAMP > 127).astype(np.int64), "L"),
            (np.stack([RAMP.astype(np.uint16) * 257] * 3, -1), "RGB"),
            (RAMP[..., None].astype(np.uint16) * 257, "I;16"),
        ],
    )
    def test_of_arrays_have_the_range_of_their_numbers(self, array: Any, expected: str) -> None:
        image = as_image(array)
        assert image.mode == expected
        shown = np.asarray(eight_bits(image).convert("L"))
        is_mask = array.max() <= 1
        assert np.array_equal(shown, (self.RAMP > 127) * 255 if is_mask else self.RAMP)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "PA", "RGBa", "RGBX", "P"])
@pytest.mark.parametrize("content_type", [*FORMATS, "image/gif"])
def test_images_of_every_mode_are_written(mode: str, content_type: str) -> None:
    alpha = {"PA": "LA", "RGBa": "RGBA"}
    image = Image.new(alpha.get(mode, "RGB"), (8, 8), "red").convert(mode)
    encoded = encode(image, content_type)
    verify(io.BytesIO(encoded.data), content_type, encoded.extent)
    read = Image.open(io.BytesIO(encoded.data)).convert("RGB").getpixel((4, 4))
    expected = np.array((76, 76, 76) if mode == "PA" else (255, 0, 0))
    assert np.abs(np.array(read) - expected).max() <= 3


class TestLargeImages:
    @pytest.fixture(autouse=True)
    def limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 48 * 32 // 4)

    @pytest.mark.parametrize("content_type", [*FORMATS, "image/gif"])
    def test_of_our_own_pass(self, content_type: str) -> None:
        encoded = encode(IMAGE, content_type)
        verify(io.BytesIO(encoded.data), content_type, encoded.extent)
        assert Image.MAX_IMAGE_PIXELS == 48 * 32 // 4

    def test_of_others_do_not(self, tmp_path: Path) -> None:
        IMAGE.save(tmp_path / "a.png")
        with pytest.raises(RunFailed, match="decompression bomb"):
            read_image("a.png", FileAccess(tmp_path))

    def test_that_are_larger_than_they_should_be_do_not(self) -> None:
        data = encode(IMAGE, "image/png").data
        with pytest.raises(RunFailed, match="decompression bomb"):
            verify(io.BytesIO(data), "image/png", MediaInfo(4, 4, 1))


class TestGifs:
    @pytest.mark.parametrize("fps", [1, 7, 8, 12, 15, 16, 23.976, 24, 25, 29.97, 30, 50, 60, 120])
    @pytest.mark.parametrize("count", [1, 25])
    def test_last_as_long_as_the_video(self, fps: float, count: int) -> None:
        shades = [Image.new("RGB", (8, 8), (10 * n, 0, 0)) for n in range(count)]
        data = encode(shades, "image/gif", fps=fps).data
        with Image.open(io.BytesIO(data)) as gif:
            delays = []
            for index in range(getattr(gif, "n_frames", 1)):
                gif.seek(index)
                delays.append(gif.info.get("duration", 0))
        assert len(delays) == count
        assert sum(delays) == 10 * round(100 * count / fps)
        assert max(delays) - min(delays) <= 10

    @pytest.mark.parametrize(("fps", "is_told"), [(50, False), (50.5, True), (120, True)])
    def test_of_more_frames_than_viewers_show_are_told(
        self, fps: float, is_told: bool, warnings: list[str]
    ) -> None:
        encode(CLIP, "image/gif", fps=fps)
        assert [f"a GIF of {fps:g} frames per second" in note for note in warnings] == (
            [True] if is_told else []
        )

    @pytest.mark.parametrize("fps", [8, 12, 24, 30])
    def test_keep_their_rate_when_they_are_read(self, tmp_path: Path, fps: int) -> None:
        shades = [Image.new("RGB", (8, 8), (2 * n, 0, 0)) for n in range(50)]
        (tmp_path / "a.gif").write_bytes(encode(shades, "image/gif", fps=fps).data)
        video = read_video("a.gif", FileAccess(tmp_path))
        assert (len(video), video.fps) == (50, pytest.approx(fps, rel=0.01))


class TestVerification:
    def test_an_empty_file_is_found(self) -> None:
        with pytest.raises(RunFailed, match="empty"):
            verify(io.BytesIO(), "image/png", MediaInfo(48, 32, 1))

    @pytest.mark.parametrize("content_type", ["image/png", "image/jpeg", "video/mp4"])
    def test_half_a_file_is_found(self, content_type: str) -> None:
        encoded = encode(CLIP if content_type == "video/mp4" else IMAGE, content_type)
        with pytest.raises(RunFailed):
            verify(io.BytesIO(encoded.data[: len(encoded.data) // 2]), content_type, encoded.extent)

    def test_another_size_is_found(self) -> None:
        with pytest.raises(RunFailed, match="read back as"):
            verify(io.BytesIO(encode(IMAGE, "image/png").data), "image/png", MediaInfo(48, 48, 1))

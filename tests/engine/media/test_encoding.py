from __future__ import annotations

import io
import json
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from dw.engine.media.encoding import Encoded, verify
from dw.engine.media.encoding import encode as encode_as
from dw.engine.media.image import EXIF_IFD, FORMATS, USER_COMMENT
from dw.engine.media.media_info import MediaInfo
from dw.errors import RunFailed
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

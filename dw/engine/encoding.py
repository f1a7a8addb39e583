"""Results as the bytes of a file, and the proof that the bytes are what they should be.

The bytes depend on the result alone: no times, no paths, no random names.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from PIL import Image, PngImagePlugin

from dw.engine.description import described
from dw.errors import RunFailed

EXTENSIONS = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "video/mp4": ".mp4",
    "text/plain": ".txt",
    "application/json": ".json",
}
EXIF_IFD, USER_COMMENT = 0x8769, 0x9286
QUALITY = 95
"""Of JPEG and WebP: artefacts are not seen any more, and a file is half of its size at 100."""


@dataclass(frozen=True, slots=True)
class Extent:
    """What a file must turn out to be when it is read back: pixels and frames."""

    width: int | None = None
    height: int | None = None
    frames: int | None = None


@dataclass(frozen=True, slots=True)
class Encoded:
    data: bytes
    extent: Extent


def encode(
    value: Any, content_type: str, *, fps: int = 8, metadata: Mapping[str, Any] | None = None
) -> Encoded:
    """Raises RunFailed when `value` is nothing that a file of this type can hold."""
    if content_type == "application/json":
        return Encoded(_json(value), Extent())
    if content_type.startswith("text/"):
        return Encoded(_text(value, content_type), Extent())
    if content_type == "video/mp4":
        return _video(_frames(value, content_type), fps)
    if content_type == "image/gif":
        return _gif(_frames(value, content_type), fps)
    return _picture(as_picture(value, content_type), content_type, metadata)


def verify(data: bytes, content_type: str, expected: Extent) -> None:
    """Read the bytes as the type that they should be. Raises RunFailed when they are not what
    was written."""
    if not data and content_type != "text/plain":
        raise RunFailed("the file is empty")
    found = _extent(data, content_type)
    if found != expected:
        raise RunFailed(f"the file was read back as {found}, not as {expected}")


def as_picture(value: Any, content_type: str = "a picture") -> Image.Image:
    """A picture from a PIL image or an array (height, width[, channels]), of bytes or floats
    from 0 to 1."""
    if isinstance(value, Image.Image):
        return value
    if isinstance(value, np.ndarray) and value.ndim in (2, 3):
        if value.dtype != np.uint8:
            value = (value.clip(0, 1) * 255).round().astype(np.uint8)
        is_grey = value.ndim == 3 and value.shape[-1] == 1
        return Image.fromarray(value[..., 0] if is_grey else value)
    raise RunFailed(f"{content_type} cannot hold {_kind(value)}")


def _picture(image: Image.Image, content_type: str, metadata: Mapping[str, Any] | None) -> Encoded:
    buffer = io.BytesIO()
    text = None if metadata is None else json.dumps(described(metadata), ensure_ascii=False)
    if content_type == "image/png":
        image.save(buffer, "PNG", pnginfo=_png_text(text))
    else:
        name = "WEBP" if content_type == "image/webp" else "JPEG"
        if name == "JPEG" and image.mode not in ("RGB", "L"):
            image = image.convert("RGB")
        exif = {} if text is None else {"exif": _exif_comment(text)}
        image.save(buffer, name, quality=QUALITY, **exif)
    return Encoded(buffer.getvalue(), Extent(image.width, image.height, 1))


def _png_text(text: str | None) -> PngImagePlugin.PngInfo | None:
    if text is None:
        return None
    info = PngImagePlugin.PngInfo()
    info.add_itxt("parameters", text)
    return info


def _exif_comment(text: str) -> Image.Exif:
    exif = Image.Exif()
    exif.get_ifd(EXIF_IFD)[USER_COMMENT] = b"UNICODE\0" + text.encode("utf-16-be")
    return exif


def _frames(value: Any, content_type: str) -> list[Image.Image]:
    if isinstance(value, Image.Image):
        return [value]
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    if is_list or (isinstance(value, np.ndarray) and value.ndim == 4):
        frames = [as_picture(frame, content_type).convert("RGB") for frame in value]
        if frames:
            return frames
    raise RunFailed(f"{content_type} cannot hold {_kind(value)}")


def _gif(frames: Sequence[Image.Image], fps: int) -> Encoded:
    buffer = io.BytesIO()
    duration_ms = round(1000 / fps)
    frames[0].save(
        buffer, "GIF", save_all=True, append_images=frames[1:], duration=duration_ms, loop=0
    )
    # Equal neighbours become one longer frame, so the file itself says how many there are.
    return Encoded(buffer.getvalue(), _extent(buffer.getvalue(), "image/gif"))


def _video(frames: Sequence[Image.Image], fps: int) -> Encoded:
    """H.264 with 4:2:0 chroma, which needs even sides: an odd one loses its last line."""
    width, height = frames[0].width & ~1, frames[0].height & ~1
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "17"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            picture = av.VideoFrame.from_image(frame.crop((0, 0, width, height)))
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return Encoded(buffer.getvalue(), Extent(width, height, len(frames)))


def _text(value: Any, content_type: str) -> bytes:
    if isinstance(value, str):
        return value.encode()
    raise RunFailed(f"{content_type} cannot hold {_kind(value)}")


def _json(value: Any) -> bytes:
    try:
        return json.dumps(value, indent=2, ensure_ascii=False).encode()
    except TypeError as error:
        raise RunFailed(f"application/json cannot hold {_kind(value)}: {error}") from error


def _extent(data: bytes, content_type: str) -> Extent:
    read: Callable[[bytes], Extent] = _READERS.get(content_type, _image_extent)
    try:
        return read(data)
    except (OSError, ValueError, SyntaxError) as error:
        raise RunFailed(f"the file cannot be read back: {error}") from error


def _image_extent(data: bytes) -> Extent:
    with Image.open(io.BytesIO(data)) as image:
        frames = getattr(image, "n_frames", 1)
        for index in range(frames):
            image.seek(index)
            image.load()
        return Extent(image.width, image.height, frames)


def _video_extent(data: bytes) -> Extent:
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        return Extent(stream.width, stream.height, sum(1 for _ in container.decode(stream)))


def _text_extent(data: bytes) -> Extent:
    data.decode()
    return Extent()


def _json_extent(data: bytes) -> Extent:
    json.loads(data)
    return Extent()


_READERS: dict[str, Callable[[bytes], Extent]] = {
    "video/mp4": _video_extent,
    "text/plain": _text_extent,
    "application/json": _json_extent,
}


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "a text"
    if isinstance(value, Image.Image):
        return "a picture"
    if isinstance(value, Mapping):
        return f"a mapping of {', '.join(map(str, value))}"
    if isinstance(value, Sequence):
        return f"a list of {len(value)} {type(value[0]).__name__}s" if value else "an empty list"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    return f"a {type(value).__name__}"

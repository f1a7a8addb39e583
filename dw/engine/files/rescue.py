"""Rescue: a result whose file could not be written, kept in another form or in another place."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from dw.engine.media.audio import Audio
from dw.engine.media.encoding import Encoded
from dw.engine.media.image import encode_image, rgb
from dw.engine.media.media_info import MediaInfo
from dw.engine.media.video import Video
from dw.errors import DwError

Form = tuple[str, str, Encoded]
"""Extension, content type, and bytes."""

NUMPY, NUMPY_SEVERAL, TORCH = "application/x-npy", "application/x-npz", "application/x-pytorch"


def forms(value: Any) -> Iterator[Form]:
    """The value in forms that need no encoder of media, the best first: images as PNG; videos and
    audio as arrays of numpy, with their rates; all else as torch saves it."""
    if isinstance(value, Image.Image):
        with suppress(DwError, OSError, ValueError):
            data, extent = encode_image(value, "image/png", None)
            yield ".png", "image/png", Encoded(data, extent)
        value = np.asarray(value)
    if isinstance(value, torch.Tensor) and value.dtype != torch.bfloat16:  # numpy has none
        value = value.cpu().numpy()
    if isinstance(value, np.ndarray):
        yield ".npy", NUMPY, _saved(np.save, value)
    elif isinstance(value, str):
        yield ".txt", "text/plain", Encoded(value.encode(errors="backslashreplace"), MediaInfo())
    elif (arrays := _arrays(value)) is not None:
        yield ".npz", NUMPY_SEVERAL, _saved(np.savez, **arrays)
    else:
        buffer = io.BytesIO()
        torch.save(value, buffer)
        yield ".pt", TORCH, Encoded(buffer.getvalue(), MediaInfo())


def folders(path: Path) -> Iterator[Path]:
    """Where else a file may be: beside it, or in a new folder for temporary files."""
    yield path.parent
    with suppress(OSError):
        yield Path(tempfile.mkdtemp(prefix="dw-kept-"))


def _arrays(value: Any) -> Mapping[str, Any] | None:
    """Frames (frames, height, width, 3) as bytes, samples (samples, channels), and their rates."""
    if isinstance(value, Audio):
        return {"samples": value.samples, "sample_rate": value.rate or 0}
    is_frames = isinstance(value, Sequence) and all(isinstance(v, Image.Image) for v in value)
    if not isinstance(value, Video) and not (is_frames and len(value)):
        return None
    video = value if isinstance(value, Video) else Video(value)
    frames = np.stack([np.asarray(rgb(frame)) for frame in video])
    sound = {} if video.audio is None else _arrays(video.audio) or {}
    return {"frames": frames, "fps": video.fps or 0, **sound}


def _saved(save: Any, *values: Any, **arrays: Any) -> Encoded:
    buffer = io.BytesIO()
    save(buffer, *values, **arrays)
    return Encoded(buffer.getvalue(), MediaInfo())

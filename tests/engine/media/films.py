"""Videos as cameras and editors write them, made with PyAV."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np
from PIL import Image

FPS, RATE = 10, 44_100
SIZE = (64, 48)


def tone(samples: int = RATE) -> np.ndarray:
    """A sweep, in which each moment is told from all others."""
    time = np.arange(samples) / RATE
    wave = np.sin(2 * np.pi * (200 * time + 800 * time * time)) / 2
    return wave.astype(np.float32)


def film(
    form: str = "mp4",
    codec: str = "aac",
    *,
    delay_s: float = 0,
    samples: int = RATE,
    video: str | None = "libx264",
) -> io.BytesIO:
    """One second of video, white in the upper left quarter, and a tone that starts later."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=form) as file:
        pictures = None if video is None else file.add_stream(video, rate=FPS)
        sound = file.add_stream(codec, rate=RATE, layout="mono")
        if pictures is not None:
            pictures.width, pictures.height, pictures.pix_fmt = *SIZE, "yuv420p"
            for number in range(FPS):
                frame = av.VideoFrame.from_image(_corner())
                frame.pts, frame.time_base = number, Fraction(1, FPS)
                file.mux(pictures.encode(frame))
            file.mux(pictures.encode())
        wave = av.AudioFrame.from_ndarray(tone(samples)[None], format="fltp", layout="mono")
        wave.sample_rate, wave.time_base = RATE, Fraction(1, RATE)
        wave.pts = round(delay_s * RATE)
        resampler = av.AudioResampler(format=sound.format, layout="mono", rate=RATE)
        for part in resampler.resample(wave):
            file.mux(sound.encode(part))
        file.mux(sound.encode())
    buffer.seek(0)
    return buffer


def turned(file: io.BytesIO, matrix: Sequence[int]) -> io.BytesIO:
    """The MP4 with a display matrix of these signs in the header of its video track."""
    data = bytearray(file.getvalue())
    at = data.index(b"tkhd") + 44
    assert struct.unpack_from(">9i", data, at)[0] == 1 << 16
    a, b, c, d = (sign << 16 for sign in matrix)
    struct.pack_into(">9i", data, at, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    return io.BytesIO(bytes(data))


def _corner() -> Image.Image:
    image = Image.new("RGB", SIZE)
    image.paste((255, 255, 255), (0, 0, SIZE[0] // 2, SIZE[1] // 2))
    return image

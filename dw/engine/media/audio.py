"""Audio: waveforms with their sample rate, as the bytes of a file and back."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, BinaryIO

import av
import numpy as np
import numpy.typing as npt
import soundfile
import torch

from dw.engine.media.media_info import MediaInfo, kind_of
from dw.errors import RunFailed, did_you_mean
from dw.workflow.format.result import Result

Samples = npt.NDArray[np.float32]

RATE = 44_100  # Hz, if the source of an audio gives none
BLOCK = 2**20
"""Samples per write: libsndfile's Vorbis encoder overflows its stack with more."""

FORMATS = {
    "audio/wav": ("WAV", None),
    "audio/x-wav": ("WAV", None),
    "audio/aiff": ("AIFF", None),
    "audio/x-aiff": ("AIFF", None),
    "audio/flac": ("FLAC", None),
    "audio/mpeg": ("MP3", None),
    "audio/mp3": ("MP3", None),
    "audio/ogg": ("OGG", "VORBIS"),
    "audio/opus": ("OGG", "OPUS"),
}
"""Content types, and libsndfile's names for their format and subtype."""

_MPEG = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_RATES = {
    "MP3": _MPEG,
    "OPUS": (8000, 12000, 16000, 24000, 48000),
    "aac": (*_MPEG, 64000, 88200, 96000),
    "libopus": (48000,),  # decoders output this one
}
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))  # the bits of each byte
_LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}


@dataclass(frozen=True, slots=True, eq=False)
class Audio:
    """A waveform: `samples` (samples, channels) from -1 to 1, and their `rate` in Hz, None if
    unknown."""

    samples: Samples
    rate: int | None = None

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def channels(self) -> int:
        return int(self.samples.shape[1])

    @property
    def layout(self) -> str:
        """FFmpeg's name for the channels. Raises RunFailed if it has none."""
        if (name := _LAYOUTS.get(self.channels)) is None:
            raise RunFailed(f"audio with {self.channels} channels is not supported")
        return name

    @property
    def tensor(self) -> torch.Tensor:
        """The waveform as pipelines take it: (channels, samples)."""
        return torch.from_numpy(np.ascontiguousarray(self.samples.T))

    def assumed(self, rate: int | None) -> Audio:
        """The same audio, with this rate if its own is unknown."""
        return replace(self, rate=rate) if self.rate is None else self

    def at(self, rate: int) -> Audio:
        """The same audio at this rate: resampled, or only labelled if its own is unknown."""
        if self.rate in (None, rate) or not len(self):
            return replace(self, rate=rate)
        resampler = av.AudioResampler(format="fltp", layout=self.layout, rate=rate)
        frames = [*resampler.resample(self.frame()), *resampler.resample(None)]
        samples = np.concatenate([frame.to_ndarray() for frame in frames], axis=1).T
        return Audio(fitted(samples, round(len(self) * rate / self.rate)), rate)

    def frame(self, begin: int = 0, end: int | None = None) -> av.AudioFrame:
        """The samples from `begin` to `end` as a frame of FFmpeg."""
        part = np.ascontiguousarray(self.samples[begin:end].T)
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=self.layout)
        frame.sample_rate, frame.pts = self.rate, begin
        frame.time_base = Fraction(1, self.rate or RATE)
        return frame


def fitted(samples: Samples, length: int) -> Samples:
    """Samples cut, or padded with silence, to this length."""
    missing = length - len(samples)
    return samples[:length] if missing <= 0 else np.pad(samples, ((0, missing), (0, 0)))


def as_audio(value: Any, rate: int | None = None) -> Audio:
    """Audio from a waveform; `rate` applies if it has no rate of its own.

    Tensors and arrays are (samples), (channels, samples) or a batch of one; the shorter side is
    the channels. Of a video, or a pipeline's reference, it is the audio. Raises RunFailed for
    anything else.
    """
    if isinstance(value, Audio):
        return value.assumed(rate)
    for name in ("sound", "audio"):
        if (own := getattr(value, name, None)) is not None:
            return as_audio(own, getattr(value, "sample_rate", None) or rate)
    if isinstance(value, torch.Tensor):
        value = (value.float() if value.is_floating_point() else value).cpu().numpy()
    if not isinstance(value, np.ndarray):
        raise RunFailed(f"audio cannot be made from {kind_of(value)}")
    if value.ndim == 3 and len(value) == 1:
        value = value[0]
    if value.ndim not in (1, 2):
        raise RunFailed(f"audio cannot be made from {kind_of(value)}")
    samples = value[:, None] if value.ndim == 1 else value
    samples = samples.T if samples.shape[0] < samples.shape[1] else samples
    if samples.dtype.kind != "f":
        steps = np.iinfo(samples.dtype)
        middle = (int(steps.max) + int(steps.min) + 1) // 2  # silence: 128 in bytes, 0 in int16
        samples = (samples - float(middle)) / (int(steps.max) + 1 - middle)
    return Audio(samples.astype(np.float32), rate)


def waveforms(value: Any) -> list[Any] | None:
    """The members of a batch (batch, channels, samples) of several waveforms, None for one."""
    is_batch = isinstance(value, torch.Tensor | np.ndarray) and value.ndim == 3 and len(value) > 1
    return list(value) if is_batch else None


def encode_audio(value: Any, spec: Result) -> tuple[bytes, MediaInfo]:
    """Raises RunFailed if the value is not audio, or the format does not take these settings."""
    audio = as_audio(value)
    form, subtype = settings(spec)
    audio = audio.at(codec_rate(spec.sample_rate or audio.rate or RATE, subtype or form))
    assert audio.rate is not None
    buffer = io.BytesIO()
    level, mode = spec.compression_level, spec.bitrate_mode
    if mode is not None and level is None:
        level = 0.5  # libsndfile takes a mode only together with a level
    try:
        with soundfile.SoundFile(
            buffer,
            "w",
            audio.rate,
            audio.channels,
            subtype,
            format=form,
            compression_level=level,
            bitrate_mode=mode,
        ) as file:
            for begin in range(0, len(audio), BLOCK):
                file.write(audio.samples[begin : begin + BLOCK])
    except (soundfile.SoundFileError, ValueError) as error:
        raise RunFailed(f"{spec.content_type}: {_reason(error)}") from error
    data = _reproducible(buffer.getvalue(), form)
    return data, MediaInfo(samples=len(audio), sample_rate=audio.rate)


def settings(spec: Result) -> tuple[str, str | None]:
    """libsndfile's format and subtype. Raises RunFailed for unknown ones."""
    form, subtype = FORMATS[spec.content_type]
    form, subtype = (spec.format or form).upper(), (spec.subtype or subtype or "").upper() or None
    if form not in (formats := soundfile.available_formats()):
        raise RunFailed(f"unknown audio format {form!r}{did_you_mean(form, formats)}")
    if subtype is not None and not soundfile.check_format(form, subtype):
        known = ", ".join(soundfile.available_subtypes(form))
        raise RunFailed(f"{form} has no subtype {subtype!r}; it has {known}")
    return form, subtype


def codec_rate(rate: int, codec: str) -> int:
    """The lowest rate of the codec that is at least `rate`, or else its highest."""
    rates = _RATES.get(codec, (rate,))
    return min((each for each in rates if each >= rate), default=rates[-1])


def audio_extent(file: BinaryIO) -> MediaInfo:
    """The extent of any file that libsndfile reads, decoded whole. Raises OSError or ValueError."""
    try:
        with soundfile.SoundFile(file) as audio:
            samples = 0
            while read := len(audio.read(BLOCK)):
                samples += read
            return MediaInfo(samples=samples, sample_rate=audio.samplerate)
    except soundfile.SoundFileError as error:
        raise ValueError(_reason(error)) from error


def _reproducible(data: bytes, form: str) -> bytes:
    """The file without what differs between runs of libsndfile: the random serial number of an Ogg
    stream, and the time in the peak chunk of float samples."""
    if form == "OGG":
        return b"".join(_numbered_zero(page) for page in _pages(data))
    return re.sub(rb"(PEAK.{8}).{4}", rb"\1\0\0\0\0", data, count=1, flags=re.DOTALL)


def _pages(data: bytes) -> Iterator[bytes]:
    """The pages of an Ogg stream, RFC 3533: 27 bytes, the segment sizes, the segments."""
    begin = 0
    while begin < len(data):
        sizes = begin + 27
        body = sizes + data[begin + 26]
        end = body + sum(data[sizes:body])
        yield data[begin:end]
        begin = end


def _numbered_zero(page: bytes) -> bytes:
    """The page with serial number 0 (bytes 14 to 17) and the checksum for it (bytes 22 to 25).

    The checksum is computed with zeros in its place. It is zlib's CRC-32 with reversed bits,
    starting at 0 and not inverted.
    """
    page = page[:14] + bytes(4) + page[18:22] + bytes(4) + page[26:]
    reflected = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    checksum = reflected.to_bytes(4, "big").translate(_REVERSED)
    return page[:22] + checksum + page[26:]


def _reason(error: Exception) -> str:
    """libsndfile's message without the name of the buffer."""
    return str(error).rpartition("Error : ")[2].rstrip(".").lower()

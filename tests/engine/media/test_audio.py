from __future__ import annotations

import io
from typing import Any, get_args

import numpy as np
import pytest
import soundfile
import torch

from dw.engine.media.audio import FORMATS, Audio, as_audio, fitted, waveforms
from dw.engine.media.encoding import EXTENSIONS, encode, verify
from dw.engine.media.media_info import MediaInfo
from dw.errors import RunFailed
from dw.workflow.format.result import Result
from dw.workflow.format.scalars import ContentType

RATE = 24_000
TONE = (np.sin(np.arange(RATE) * 2 * np.pi * 440 / RATE) / 2).astype(np.float32)  # a second
STEREO = Audio(np.stack([TONE, -TONE], axis=1), RATE)

every_type = pytest.mark.parametrize("content_type", FORMATS)


def test_every_content_type_has_its_extension() -> None:
    assert set(EXTENSIONS) == set(get_args(ContentType))


@every_type
def test_audio_is_read_back_in_its_length(content_type: str) -> None:
    encoded = encode(STEREO, Result(content_type=content_type))
    assert encoded.extent == MediaInfo(samples=RATE, sample_rate=RATE)
    assert encoded.extent.seconds == 1
    verify(io.BytesIO(encoded.data), content_type, encoded.extent)


@every_type
def test_half_an_audio_file_is_found(content_type: str) -> None:
    encoded = encode(STEREO, Result(content_type=content_type))
    with pytest.raises(RunFailed, match="read back"):
        verify(io.BytesIO(encoded.data[: len(encoded.data) // 2]), content_type, encoded.extent)


@pytest.mark.parametrize(
    "spec",
    [
        *({"content_type": content_type} for content_type in FORMATS),
        {"content_type": "audio/wav", "subtype": "FLOAT"},
        {"content_type": "audio/aiff", "subtype": "float"},
    ],
    ids=lambda spec: "-".join(spec.values()),
)
def test_the_bytes_depend_on_the_audio_alone(spec: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (encode(STEREO, Result(**spec)).data for _ in range(2))
    assert first == second
    # libsndfile draws Ogg's serial number from the time, and writes the time beside float samples.
    assert b"PEAK" not in first or first[first.index(b"PEAK") + 12 :][:4] == bytes(4)


def test_flac_keeps_every_sample() -> None:
    data = encode(STEREO, Result(content_type="audio/flac", subtype="PCM_24")).data
    read, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    assert rate == RATE
    assert np.abs(read - STEREO.samples).max() < 2**-23


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        (TONE, (RATE, 1)),
        (torch.from_numpy(TONE), (RATE, 1)),
        (np.stack([TONE, TONE]), (RATE, 2)),
        (np.stack([TONE, TONE], axis=1), (RATE, 2)),
        (torch.zeros(1, 2, RATE, dtype=torch.bfloat16), (RATE, 2)),
        ((TONE * 32767).astype(np.int16), (RATE, 1)),
    ],
)
def test_waveforms_of_any_form_are_audio(value: Any, shape: tuple[int, int]) -> None:
    samples = as_audio(value).samples
    assert samples.shape == shape
    assert samples.dtype == np.float32
    assert np.abs(samples).max() <= 0.5


@pytest.mark.parametrize("value", ["words", [1, 2], np.zeros((3, 2, 9)), None])
def test_what_is_not_audio_is_named(value: Any) -> None:
    with pytest.raises(RunFailed, match="audio cannot be made from"):
        as_audio(value)


def test_a_batch_of_several_waveforms_is_told_from_one() -> None:
    assert len(waveforms(np.zeros((3, 2, 9))) or ()) == 3
    assert waveforms(np.zeros((1, 2, 9))) is None
    assert waveforms(STEREO) is None


class TestRates:
    @pytest.mark.parametrize(
        ("audio", "spec", "rate", "samples"),
        [
            (STEREO, {}, RATE, RATE),  # its own
            (STEREO, {"sample_rate": 48_000}, 48_000, 48_000),  # resampled
            (STEREO, {"samplerate": 8_000}, 8_000, 8_000),
            (TONE, {}, 44_100, RATE),  # nobody told
            (TONE, {"sample_rate": 16_000}, 16_000, RATE),
            (TONE, {"content_type": "audio/opus"}, 48_000, RATE),  # one that the codec has
            (STEREO, {"content_type": "audio/mpeg", "sample_rate": 96_000}, 48_000, 48_000),
        ],
    )
    def test_the_rate_is_told_known_or_usual(
        self, audio: Any, spec: dict[str, Any], rate: int, samples: int
    ) -> None:
        extent = encode(audio, Result(**{"content_type": "audio/wav", **spec})).extent
        assert (extent.sample_rate, extent.samples) == (rate, samples)

    def test_resampling_keeps_the_tone(self) -> None:
        spectrum = np.abs(np.fft.rfft(STEREO.at(44_100).samples[:, 0]))
        assert abs(int(spectrum.argmax()) - 440) <= 1  # Hz, as it lasts a second

    def test_empty_audio_stays_empty(self) -> None:
        assert len(Audio(np.zeros((0, 2), np.float32), RATE).at(8000)) == 0


def test_audio_is_cut_or_continued_with_silence() -> None:
    assert fitted(STEREO.samples, 10).shape == (10, 2)
    longer = fitted(STEREO.samples, RATE + 5)
    assert longer.shape == (RATE + 5, 2)
    assert not longer[RATE:].any()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"subtype": "PCM_23"}, "WAV has no subtype 'PCM_23'; it has PCM_16, PCM_24"),
        ({"format": "WAVE"}, "unknown audio format 'WAVE' (did you mean"),
        ({"content_type": "audio/mpeg", "subtype": "FLOAT"}, "MP3 has no subtype 'FLOAT'"),
    ],
)
def test_settings_that_libsndfile_does_not_have_are_named(
    spec: dict[str, Any], message: str
) -> None:
    with pytest.raises(RunFailed) as caught:
        encode(STEREO, Result(**{"content_type": "audio/wav", **spec}))
    assert caught.value.message.startswith(message)


def test_a_higher_compression_level_is_a_smaller_file() -> None:
    sizes = [
        len(encode(STEREO, Result(content_type="audio/ogg", compression_level=level)).data)
        for level in (0.0, 1.0)
    ]
    assert sizes[0] > sizes[1]


def test_an_mp3_may_spread_its_bits() -> None:
    modes = ("CONSTANT", "VARIABLE")
    constant, variable = (
        encode(STEREO, Result(content_type="audio/mpeg", bitrate_mode=mode)).data for mode in modes
    )
    assert constant != variable


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int32])
def test_integers_of_any_kind_are_scaled(dtype: Any) -> None:
    steps = np.iinfo(dtype)
    middle = (int(steps.max) + int(steps.min) + 1) // 2
    values = np.array([[steps.min, middle, steps.max] * 2], dtype)
    found = as_audio(values).samples[:3, 0]
    assert found == pytest.approx([-1, 0, 1], abs=0.01)

"""Images, videos and audio of strangers are read as their makers meant them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
import soundfile
from PIL import Image, ImageCms

from dw.engine.cancellation import Cancelled, RunControl
from dw.engine.files.access import FileAccess
from dw.engine.files.inputs import read_audio, read_image, read_video
from dw.engine.media import memory_share
from dw.engine.media.audio import Audio
from dw.engine.media.audio_reading import decode_audio
from dw.engine.media.containers import opened
from dw.errors import OutOfResources, RunFailed
from tests.engine.media.films import RATE, film, tone, turned

RAMP = np.tile(np.arange(256, dtype=np.uint8), (4, 1))


def saved(image: Image.Image, path: Path, **options: Any) -> np.ndarray[Any, Any]:
    """The pixels as they are read from a file."""
    image.save(path, **options)
    return pixels(path)


def pixels(path: Path) -> np.ndarray[Any, Any]:
    image = read_image(str(path), FileAccess(path.parent))
    assert (image.mode, image.info) == ("RGB", {})
    return np.asarray(image).astype(int)


class TestGreys:
    @pytest.mark.parametrize("suffix", ["png", "tiff"])
    @pytest.mark.parametrize("mode", ["I;16", "I;16B"])
    def test_of_16_bits_are_scaled(self, tmp_path: Path, mode: str, suffix: str) -> None:
        wide = (RAMP.astype(np.uint16) * 257).astype(">u2" if mode == "I;16B" else "<u2")
        image = Image.frombytes(mode, (256, 4), wide.tobytes())
        found = saved(image, tmp_path / f"grey.{suffix}")
        assert np.array_equal(found, np.stack([RAMP] * 3, -1))

    def test_of_16_bits_in_integers_of_32_are_scaled(self, tmp_path: Path) -> None:
        image = Image.fromarray(RAMP.astype(np.int32) * 257)
        assert np.array_equal(saved(image, tmp_path / "grey.tiff")[..., 0], RAMP)

    def test_of_floats_are_scaled(self, tmp_path: Path, warnings: list[str]) -> None:
        image = Image.fromarray(RAMP.astype(np.float32) / 255)
        assert np.array_equal(saved(image, tmp_path / "grey.tiff")[..., 0], RAMP)
        assert warnings == []

    @pytest.mark.parametrize(("kind", "unit"), [(np.float32, 0.5), (np.int32, 1000)])
    def test_of_any_range_run_from_black_to_white(
        self, tmp_path: Path, warnings: list[str], kind: type, unit: float
    ) -> None:
        image = Image.fromarray((RAMP.astype(float) * unit - 10 * unit).astype(kind))
        assert np.array_equal(saved(image, tmp_path / "depth.tiff")[..., 0], RAMP)
        [note] = warnings
        assert f"values run from {-10 * unit:g} to {245 * unit:g}" in note

    def test_that_are_one_value_are_black(self, tmp_path: Path) -> None:
        assert not saved(Image.new("F", (4, 4), 7.0), tmp_path / "flat.tiff").any()

    def test_that_are_no_number_or_endless_are_the_ends(self, tmp_path: Path) -> None:
        values = np.array([[0, 2, 4, np.inf, -np.inf, np.nan]], np.float32)
        found = saved(Image.fromarray(values), tmp_path / "depth.tiff")[0, :, 0]
        assert found.tolist() == [0, 128, 255, 255, 0, 0]


class TestProfiles:
    def test_of_other_primaries_are_converted(self, tmp_path: Path) -> None:
        red = np.full((4, 4, 3), (200, 60, 60), np.uint8)
        for suffix in ("png", "jpg", "webp", "tiff"):
            options = {"lossless": True} if suffix == "webp" else {"quality": 100}
            found = saved(
                Image.fromarray(red),
                tmp_path / f"wide.{suffix}",
                icc_profile=_swapped().tobytes(),
                **options,
            )
            assert np.abs(found - (60, 200, 60)).max() <= 3, suffix

    def test_of_srgb_change_nothing(self, tmp_path: Path) -> None:
        image = Image.fromarray(np.random.default_rng(1).integers(0, 255, (32, 32, 3), np.uint8))
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        assert np.array_equal(
            saved(image, tmp_path / "a.png", icc_profile=profile), np.asarray(image)
        )

    @pytest.mark.parametrize("mode", ["P", "L", "LA", "RGBA", "1"])
    def test_of_colours_may_be_in_images_of_any_mode(
        self, tmp_path: Path, mode: str, warnings: list[str]
    ) -> None:
        red = Image.new("RGB", (4, 4), (255, 0, 0)).convert(mode)
        found = saved(red, tmp_path / "a.png", icc_profile=_swapped().tobytes())[0, 0]
        grey = red.convert("L").getpixel((0, 0))
        expected = (0, 255, 0) if mode in ("P", "RGBA") else (grey,) * 3
        assert np.abs(found - expected).max() <= 2
        assert warnings == []

    def test_of_16_bits_are_converted_too(self, tmp_path: Path, warnings: list[str]) -> None:
        wide = Image.fromarray(RAMP.astype(np.uint16) * 257)
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        assert np.array_equal(saved(wide, tmp_path / "a.png", icc_profile=profile)[..., 0], RAMP)
        assert warnings == []

    @pytest.mark.parametrize("data", [b"no profile", b"\0" * 200])
    def test_that_are_broken_are_told(
        self, tmp_path: Path, data: bytes, warnings: list[str]
    ) -> None:
        image = Image.new("RGB", (4, 4), (200, 60, 60))
        assert (saved(image, tmp_path / "a.png", icc_profile=data) == (200, 60, 60)).all()
        [note] = warnings
        assert note.startswith("an image is read without its colour profile: ")

    def test_of_another_space_are_told(self, tmp_path: Path, warnings: list[str]) -> None:
        lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
        image = Image.new("RGB", (4, 4), (200, 60, 60))
        assert (saved(image, tmp_path / "a.png", icc_profile=lab) == (200, 60, 60)).all()
        assert len(warnings) == 1

    @pytest.mark.parametrize("broken", [False, True])
    def test_lab_is_read_without_one(self, tmp_path: Path, broken: bool) -> None:
        lab = Image.new("LAB", (4, 4), (137, 192, 67 + 128))  # L 53.7, a 64, b 67
        options = {"icc_profile": b"no profile"} if broken else {}
        red, green, blue = saved(lab, tmp_path / "a.tiff", **options)[0, 0]
        assert red > 200
        assert max(green, blue) < 100

    def test_cmyk_is_read_without_one(self, tmp_path: Path) -> None:
        image = Image.new("RGB", (8, 8), (200, 60, 60)).convert("CMYK")
        assert np.abs(saved(image, tmp_path / "a.jpg")[4, 4] - (200, 60, 60)).max() < 6


def _swapped() -> ImageCms.ImageCmsProfile:
    """sRGB with the primaries of red and green exchanged."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = data.index(b"rXYZ"), data.index(b"gXYZ")
    data[red : red + 4], data[green : green + 4] = b"gXYZ", b"rXYZ"
    red, green = data.index(b"rTRC"), data.index(b"gTRC")
    data[red : red + 4], data[green : green + 4] = b"gTRC", b"rTRC"
    return ImageCms.ImageCmsProfile(io.BytesIO(bytes(data)))


@pytest.mark.parametrize("orientation", range(2, 9))
def test_an_image_is_turned_as_its_exif_says(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.new("RGB", (6, 4))
    image.putpixel((0, 0), (255, 255, 255))
    found = saved(image, tmp_path / "a.png", exif=exif)
    corner = {2: (0, 5), 3: (3, 5), 4: (3, 0), 5: (0, 0), 6: (0, 3), 7: (5, 3), 8: (5, 0)}
    assert found.shape[:2] == ((4, 6) if orientation < 5 else (6, 4))
    assert tuple(np.argwhere(found[..., 0] > 0)[0]) == corner[orientation]


class TestVideos:
    @pytest.mark.parametrize(
        ("matrix", "corner", "is_on_its_side"),
        [
            ((1, 0, 0, 1), "upper left", False),
            ((0, 1, -1, 0), "upper right", True),  # a quarter clockwise
            ((-1, 0, 0, -1), "lower right", False),
            ((0, -1, 1, 0), "lower left", True),
            ((-1, 0, 0, 1), "upper right", False),  # a mirror
            ((1, 0, 0, -1), "lower left", False),
            ((0, 1, 1, 0), "upper left", True),
            ((0, -1, -1, 0), "lower right", True),
        ],
    )
    def test_are_turned_by_their_display_matrix(
        self, tmp_path: Path, matrix: tuple[int, ...], corner: str, is_on_its_side: bool
    ) -> None:
        (tmp_path / "phone.mp4").write_bytes(turned(film(), matrix).getvalue())
        video = read_video("phone.mp4", FileAccess(tmp_path))
        frame = video.frame(0)
        assert len(video) == 10
        assert frame.size == ((48, 64) if is_on_its_side else (64, 48))
        across, down = frame.width // 4, frame.height // 4
        places = {
            "upper left": (across, down),
            "upper right": (3 * across, down),
            "lower left": (across, 3 * down),
            "lower right": (3 * across, 3 * down),
        }
        lit = [name for name, at in places.items() if frame.convert("L").getpixel(at) > 128]
        assert lit == [corner]

    @pytest.mark.parametrize(
        ("name", "read"), [("a.mp4", read_video), ("a.gif", read_video), ("a.mp4", read_audio)]
    )
    def test_are_cancelled_while_they_are_read(self, tmp_path: Path, name: str, read: Any) -> None:
        control = RunControl()
        access = FileAccess(tmp_path, check=control.check)
        (tmp_path / "a.mp4").write_bytes(film().getvalue())
        Image.new("RGB", (4, 4)).save(tmp_path / "a.gif")
        control.cancel()
        with pytest.raises(Cancelled):
            read(name, access)

    @pytest.mark.parametrize(
        ("name", "read", "title"),
        [
            ("a.mp4", read_video, "the video"),
            ("a.gif", read_video, "the video"),
            ("a.mp4", read_audio, "the audio"),
        ],
    )
    def test_that_do_not_fit_in_memory_are_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, read: Any, title: str
    ) -> None:
        (tmp_path / "a.mp4").write_bytes(film().getvalue())
        frames = [Image.new("RGB", (100, 100), (n, 0, 0)) for n in range(5)]
        frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
        _free(monkeypatch, 200_000)
        with pytest.raises(OutOfResources) as caught:
            read(name, FileAccess(tmp_path))
        assert f"{name!r}: {title} needs more than 0.0 GB of memory" in caught.value.message

    def test_that_just_fit_are_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "a.mp4").write_bytes(film().getvalue())
        _free(monkeypatch, 2 * 10 * 64 * 48 * 4)
        with pytest.raises(OutOfResources, match="the audio needs"):
            read_video("a.mp4", FileAccess(tmp_path))


def _free(monkeypatch: pytest.MonkeyPatch, nbytes: int) -> None:
    memory = psutil.virtual_memory()._replace(available=nbytes)
    monkeypatch.setattr(memory_share.psutil, "virtual_memory", lambda: memory)


class TestSound:
    @pytest.mark.parametrize("delay_s", [0, 0.5])
    @pytest.mark.parametrize(
        ("form", "codec"),
        [("mp4", "aac"), ("mov", "aac"), ("matroska", "aac"), ("mov", "pcm_s16le")],
    )
    def test_is_where_its_time_stamps_put_it(self, form: str, codec: str, delay_s: float) -> None:
        found = heard(film(form, codec, delay_s=delay_s, samples=round(RATE * (1 - delay_s))))
        begin = round(RATE * delay_s)
        assert abs(len(found) - RATE) <= 40  # MP4 counts a delay in milliseconds
        assert not found.samples[: max(0, begin - 1100)].any()
        assert abs(shift(found, begin)) <= 40

    def test_that_an_encoder_put_before_the_video_is_left_out(self) -> None:
        found = heard(film("mpegts"))
        assert (len(found), shift(found, 0)) == (RATE, 0)

    @pytest.mark.parametrize("form", ["mp4", "mov", "matroska"])
    def test_ends_where_it_ended(self, form: str) -> None:
        assert len(heard(film(form))) == RATE

    @pytest.mark.parametrize("form", ["mp4", "matroska"])
    def test_that_is_longer_than_the_video_is_whole(self, form: str) -> None:
        assert len(heard(film(form, samples=RATE * 2))) >= RATE * 2

    def test_alone_has_its_delay(self) -> None:
        found = heard(film("ipod", delay_s=0.5, video=None))
        assert abs(shift(found, RATE // 2)) <= 40

    @pytest.mark.parametrize("form", ["MP3", "OGG", "FLAC", "WAV"])
    def test_of_an_audio_file_begins_at_once(self, form: str) -> None:
        file = io.BytesIO()
        soundfile.write(file, tone(), RATE, format=form)
        file.seek(0)
        assert abs(shift(heard(file), 0)) <= 1

    def test_of_a_song_with_a_cover_begins_at_once(self) -> None:
        file = io.BytesIO()
        soundfile.write(file, tone(), RATE, format="MP3")
        cover = io.BytesIO()
        Image.new("RGB", (32, 32)).save(cover, "JPEG")
        frame = b"\0image/jpeg\0\3\0" + cover.getvalue()
        tag = b"APIC" + len(frame).to_bytes(4, "big") + b"\0\0" + frame
        size = bytes(len(tag) >> shift & 127 for shift in (21, 14, 7, 0))
        song = io.BytesIO(b"ID3\3\0\0" + size + tag + file.getvalue())
        with av.open(io.BytesIO(song.getvalue())) as container:
            assert len(container.streams.video) == 1
        assert abs(shift(heard(song), 0)) <= 1


def heard(file: io.BytesIO) -> Audio:
    with opened(file) as container:
        audio = decode_audio(container)
    assert audio is not None
    return audio


def shift(audio: Audio, begin: int) -> int:
    """By how many samples the tone is away from `begin`."""
    wave = audio.samples[:, 0]
    at, length = 9_000, 2_000
    reference = tone()[at : at + length]
    return min(
        range(-1200, 1200),
        key=lambda offset: float(
            np.abs(wave[begin + at + offset : begin + at + offset + length] - reference).sum()
        ),
    )


class TestAnimations:
    @pytest.mark.parametrize("suffix", ["gif", "webp", "avif", "png"])
    def test_are_read_with_all_frames_and_their_rate(self, tmp_path: Path, suffix: str) -> None:
        frames = [Image.new("RGB", (16, 16), (60 * n, 0, 0)) for n in range(4)]
        path = tmp_path / f"a.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=40)
        video = read_video(path.name, FileAccess(tmp_path))
        assert [round(frame.getpixel((8, 8))[0] / 60) for frame in video] == [0, 1, 2, 3]
        assert video.fps == 25

    @pytest.mark.parametrize("suffix", ["gif", "webp"])
    def test_show_each_frame_for_its_time(self, tmp_path: Path, suffix: str) -> None:
        frames = [Image.new("RGB", (16, 16), (60 * n, 0, 0)) for n in range(3)]
        path = tmp_path / f"a.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=[200, 100, 500])
        video = read_video(path.name, FileAccess(tmp_path))
        assert [round(frame.getpixel((8, 8))[0] / 60) for frame in video] == [0, 0, 1, *[2] * 5]
        assert video.fps == 10

    def test_still_images_have_one_frame_and_no_rate(self, tmp_path: Path) -> None:
        Image.new("RGB", (16, 16)).save(tmp_path / "a.webp")
        video = read_video("a.webp", FileAccess(tmp_path))
        assert (len(video), video.fps) == (1, None)

    def test_are_not_read_where_they_are_no_image(self, tmp_path: Path) -> None:
        (tmp_path / "a.gif").write_bytes(b"GIF89a nothing")
        with pytest.raises(RunFailed, match=r"cannot read the video 'a.gif'"):
            read_video("a.gif", FileAccess(tmp_path))

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from importlib.metadata import version
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from dw.errors import RunFailed
from dw.rehearsal.store import ensure, place_of


def fill(folder: Path) -> None:
    (folder / "unet").mkdir()
    (folder / "unet" / "weights").write_text("good")


def refuse(folder: Path) -> None:
    raise AssertionError("this stand-in was there already")


def test_a_stand_in_is_made_once(tmp_path: Path) -> None:
    place = ensure(tmp_path / "tiny", fill)
    assert (place / "unet" / "weights").read_text() == "good"
    assert ensure(place, refuse) == place


def test_other_library_versions_have_another_folder() -> None:
    assert place_of("sd15").name.startswith("sd15-")
    for library in ("torch", "diffusers", "transformers"):
        assert f"{library}{version(library)}" in place_of("sd15").name


def test_a_maker_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        fill(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ensure(tmp_path / "tiny", fail)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda place: (place / "unet" / "weights").unlink(),
        lambda place: (place / "unet" / "weights").write_text(""),
        lambda place: (place / "contents.json").unlink(),
        lambda place: (place / "contents.json").write_text("{"),
    ],
    ids=["missing", "truncated", "no-contents", "half-contents"],
)
def test_a_damaged_folder_is_made_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    place = ensure(tmp_path / "tiny", fill)
    damage(place)
    assert (ensure(place, fill) / "unet" / "weights").read_text() == "good"
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def make_together(place: Path, both_are_making: Barrier) -> None:
    def fill_slowly(folder: Path) -> None:
        fill(folder)
        both_are_making.wait(timeout=60)

    assert (ensure(place, fill_slowly) / "unet" / "weights").read_text() == "good"


def test_two_processes_at_once_end_with_one_whole_folder(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    together = spawn.Barrier(2)
    makers = [
        spawn.Process(target=make_together, args=(tmp_path / "tiny", together)) for _ in range(2)
    ]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert [maker.exitcode for maker in makers] == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    assert ensure(tmp_path / "tiny", refuse)


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFailed, match=r"cannot make the stand-ins in .*file") as caught:
        ensure(tmp_path / "file" / "tiny", fill)
    assert caught.value.hints

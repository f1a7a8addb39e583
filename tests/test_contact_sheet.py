from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from dw.contact_sheet import Cell, contact_sheet, save_contact_sheet
from dw.errors import RunFailed

COLOURS = ("red", "lime", "blue", "black", "cyan", "magenta", "gray", "navy")


def images(folder: Path, count: int, size: tuple[int, int] = (64, 64)) -> list[Cell]:
    found = []
    for index, colour in enumerate(COLOURS[:count]):
        path = folder / f"{index}.png"
        Image.new("RGB", size, colour).save(path)
        found.append(Cell(path, caption=f"a image that is {colour}"))
    return found


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_each_image_is_on_the_sheet_with_a_caption(tmp_path: Path, count: int) -> None:
    sheet = contact_sheet(images(tmp_path, count))
    counts = {colour: number for number, colour in sheet.getcolors(2**20)}
    for colour in COLOURS[:count]:
        rgb = Image.new("RGB", (1, 1), colour).getpixel((0, 0))
        assert counts[rgb] >= 64 * 64
    assert counts[(60, 60, 60)] > 10 * count  # the ink of the captions


def test_eight_images_are_two_rows_of_four(tmp_path: Path) -> None:
    sheet = contact_sheet(images(tmp_path, 8))
    assert 4 * 64 < sheet.width < 5 * 80
    assert 2 * 64 < sheet.height < sheet.width


def test_a_large_image_becomes_small(tmp_path: Path) -> None:
    assert contact_sheet(images(tmp_path, 1, (2000, 1000))).width < 300


def test_a_sheet_is_written_whole(tmp_path: Path) -> None:
    save_contact_sheet(images(tmp_path, 2), tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        sheet.load()
    assert not (tmp_path / "sheet.part").exists()


def test_a_sheet_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="cannot write the contact sheet"):
        save_contact_sheet(images(tmp_path, 2), tmp_path / "no" / "sheet.png")


def test_an_image_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="cannot read the image"):
        contact_sheet([Cell(tmp_path / "gone.png")])


def test_a_grey_of_16_bits_is_not_white(tmp_path: Path) -> None:
    path = tmp_path / "depth.png"
    Image.new("I;16", (64, 64), 100 * 257).save(path)
    assert contact_sheet([Cell(path, caption="depth")]).getpixel((40, 40)) == (100, 100, 100)


def test_a_result_is_shown_whatever_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = images(tmp_path, 1, (200, 200))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200 * 200 // 4)
    assert contact_sheet(found).getpixel((40, 40)) == (255, 0, 0)


def test_a_table_has_a_column_and_a_row_for_each_value_and_gaps_for_what_is_missing(
    tmp_path: Path,
) -> None:
    axes = [("a", "1"), ("a", "2"), ("a", "3"), ("b", "1"), ("b", "3")]
    cells = [
        Cell(each.path, f"{index:04}", axes=place)
        for index, (each, place) in enumerate(zip(images(tmp_path, 5), axes, strict=True))
    ]
    sheet = contact_sheet(cells)
    found = {}
    for colour in COLOURS[:5]:
        rgb = Image.new("RGB", (1, 1), colour).getpixel((0, 0))
        at = next(
            (x, y)
            for y in range(sheet.height)
            for x in range(sheet.width)
            if sheet.getpixel((x, y)) == rgb
        )
        found[colour] = at
    red, lime, blue, black, cyan = (found[colour] for colour in COLOURS[:5])
    assert red[1] == lime[1] == blue[1] < black[1] == cyan[1]
    assert red[0] == black[0] < lime[0] < blue[0] == cyan[0]

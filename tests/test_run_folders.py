"""Numbers of runs, and the texts of their workflows."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dw.run_folders import (
    digest,
    folders_of,
    keep_text,
    kept_text,
    make_folder,
    newest_folder,
    next_number,
)


def test_all_workflows_share_one_count(tmp_path: Path) -> None:
    made = [make_folder(tmp_path, name) for name in ("sd15", "wan", "sd15")]
    assert [str(each.relative_to(tmp_path)) for each in made] == [
        *("sd15/0001", "wan/0002", "sd15/0003")
    ]


def test_the_number_of_a_run_that_was_deleted_is_not_given_again(tmp_path: Path) -> None:
    shutil.rmtree(make_folder(tmp_path, "demo"))
    assert make_folder(tmp_path, "demo").name == "0002"


@pytest.mark.parametrize("damage", ["", "five\n", "²"])
def test_a_lost_count_goes_on_after_the_highest_folder(tmp_path: Path, damage: str) -> None:
    make_folder(tmp_path, "sd15")
    make_folder(tmp_path, "wan", 41)
    (tmp_path / ".dw/last").write_text(damage)
    assert next_number(tmp_path) == 42


def test_programs_that_begin_at_once_have_different_numbers(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from dw.run_folders import make_folder\n"
        f"for _ in range(50): print(make_folder(Path({str(tmp_path)!r}), 'demo').name)"
    )
    programs = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    names = [name for each in programs for name in each.communicate()[0].split()]
    assert sorted(names) == [f"{number:04d}" for number in range(1, 101)]


def test_a_run_is_found_by_its_number(tmp_path: Path) -> None:
    for name in ("sd15/0001", "wan/0001", "wan/0002"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "run.json").touch()
    (tmp_path / "wan/0003").mkdir()
    assert folders_of(tmp_path, 2) == [tmp_path / "wan/0002"]
    assert folders_of(tmp_path, 1) == [tmp_path / "sd15/0001", tmp_path / "wan/0001"]
    assert newest_folder(tmp_path, "run.json") == tmp_path / "wan/0002"
    assert newest_folder(tmp_path / "none", "run.json") is None


@pytest.mark.parametrize("text", ["{}", "ein Föx\r\n", "\ud800"])
def test_a_text_is_kept_once_and_only_whole(tmp_path: Path, text: str) -> None:
    name = keep_text(tmp_path, text)
    assert (keep_text(tmp_path, text), name) == (name, digest(text))
    assert kept_text(tmp_path, name) == text
    [file] = (tmp_path / ".dw/workflows").iterdir()
    file.write_text("another")
    assert kept_text(tmp_path, name) is None
    assert kept_text(tmp_path, "../../passwd") is None

from __future__ import annotations

from pathlib import Path

import pytest

from dw.errors import ListWorkflows, LoadPath, SetWorkflowDir, UsageError
from dw.workflow import builtin, find_workflow, workflow_names


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of workflows; the current folder is elsewhere."""
    workflows = ("FluxDev", "video/wan", "video/deep/ltx", ".hidden/secret", "a/twin", "b/twin")
    model = ("model/model_index", "model/unet/config")
    for name in (*workflows, *model):
        path = tmp_path / "flows" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    (tmp_path / "flows" / "notes.txt").write_text("")
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return tmp_path / "flows"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("FluxDev", "FluxDev.json"),
        ("FluxDev.json", "FluxDev.json"),
        ("video/wan", "video/wan.json"),
        ("wan", "video/wan.json"),
        ("ltx.json", "video/deep/ltx.json"),
        ("a/twin", "a/twin.json"),
    ],
)
def test_a_workflow_is_found_by_its_name(folder: Path, name: str, found: str) -> None:
    assert find_workflow(name, folder) == folder / found


def test_a_path_is_found_from_the_current_folder(folder: Path) -> None:
    Path("mine.json").write_text("{}")
    assert find_workflow("mine", folder) == Path("mine.json")
    assert find_workflow("../flows/FluxDev", folder) == Path("../flows/FluxDev.json")
    assert find_workflow(str(folder / "FluxDev.json"), Path("nowhere")) == folder / "FluxDev.json"


def test_a_path_may_begin_at_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert find_workflow("~/FluxDev", Path("nowhere")) == folder / "FluxDev.json"


def test_the_file_nearest_to_the_top_wins(folder: Path) -> None:
    (folder / "video" / "FluxDev.json").write_text("{}")
    (folder / "video" / "ltx.json").write_text("{}")
    assert find_workflow("ltx", folder) == folder / "video" / "ltx.json"
    assert find_workflow("FluxDev", folder) == folder / "FluxDev.json"


@pytest.mark.parametrize(("name", "meant"), [("fluxdev", "FluxDev"), ("WAN", "wan")])
def test_a_name_is_found_in_any_case(folder: Path, name: str, meant: str) -> None:
    assert find_workflow(name, folder).stem == meant


@pytest.mark.parametrize(("name", "meant"), [("FluxDve", "FluxDev"), ("WNA", "wan")])
def test_an_unknown_name_is_answered_with_the_nearest(folder: Path, name: str, meant: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_workflow(name, folder)
    assert str(caught.value) == f"unknown workflow {name!r} (did you mean {meant!r}?)"
    assert caught.value.hints[0] == f"in '{folder}': FluxDev, ltx, twin, wan"


@pytest.mark.parametrize("name", ["secret", "", ".", "/", "a\0b", "x" * 5000, "video"])
def test_what_is_no_workflow_is_not_found(folder: Path, name: str) -> None:
    with pytest.raises(UsageError, match="unknown workflow"):
        find_workflow(name, folder)


def test_two_of_one_name_are_both_named(folder: Path) -> None:
    with pytest.raises(UsageError) as caught:
        find_workflow("twin", folder)
    both = f"'twin' could be {folder}/a/twin.json and {folder}/b/twin.json"
    assert str(caught.value) == both
    assert caught.value.hints == (LoadPath(f"{folder}/a/twin.json"),)


def test_another_kind_of_file_is_refused(folder: Path) -> None:
    with pytest.raises(
        UsageError, match=r"notes.txt' is not a workflow: its name does not end in .json"
    ):
        find_workflow(str(folder / "notes.txt"), folder)


def test_a_missing_or_empty_folder_is_named(folder: Path) -> None:
    with pytest.raises(UsageError) as caught:
        find_workflow("x", Path("nowhere"))
    assert caught.value.hints[:2] == ("folder 'nowhere' does not exist", SetWorkflowDir())
    with pytest.raises(UsageError) as caught:
        find_workflow("x", Path.cwd())
    assert caught.value.hints[0].startswith("no workflows in ")


def test_what_is_built_in_is_found_after_the_users_own(folder: Path) -> None:
    assert find_workflow("test", folder) == builtin.FOLDER / "test.json"
    (folder / "video" / "test.json").write_text("{}")
    assert find_workflow("test", folder) == folder / "video" / "test.json"


def test_names_are_listed_without_hidden_folders_and_models(folder: Path) -> None:
    assert workflow_names(folder) == ("FluxDev", "ltx", "twin", "wan")
    assert workflow_names(Path("nowhere")) == ()


def test_of_many_workflows_only_the_number_is_told(folder: Path) -> None:
    for number in range(20):
        (folder / f"{number}.json").write_text("{}")
    with pytest.raises(UsageError, match="did you mean 'wan'") as caught:
        find_workflow("wann", folder)
    assert caught.value.hints[:2] == (f"there are 24 workflows in '{folder}'", ListWorkflows())

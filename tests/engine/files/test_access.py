from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dw.engine.files.access import FileAccess, typed_texts
from dw.errors import RunFailed
from tests.engine.session import PNG, Json, Session, workflow


@pytest.fixture
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image that no workflow of the session may read."""
    path = tmp_path_factory.mktemp("outside") / "secret.png"
    Image.new("RGB", (8, 8)).save(path)
    return path


def gather(**arguments: Any) -> Json:
    task = {"command": "gather_images", "arguments": arguments}
    return {"name": "all", "task": task, "result": PNG}


def call(session: Session, image: str) -> Json:
    """A step that passes a path to a sub-workflow, whose default is an image beside it."""
    size = {"command": "resize_rescale", "arguments": {"image": "variable:image"}}
    size["arguments"] |= {"width": 4, "height": 4}  # type: ignore[operator]
    child = workflow({"name": "size", "task": size, "result": PNG}, variables={"image": "cat.png"})
    (session.folder / "child.json").write_text(json.dumps(child))
    return {"name": "sub", "workflow": {"path": "child.json", "arguments": {"image": image}}}


def test_a_parent_cannot_pass_a_path_that_it_may_not_read(session: Session, outside: Path) -> None:
    document = workflow(call(session, str(outside)))
    error = session.fail(document)
    assert "is outside of the workflow's folder" in error.message
    assert session.run(document, trust=True).outputs


def test_what_the_user_typed_goes_through_to_the_sub_workflow(
    session: Session, outside: Path, cat: Path
) -> None:
    document = workflow(call(session, "variable:image"), variables={"image": "cat.png"})
    assert session.run(document).outputs
    assert session.run(document, image=str(outside)).outputs


@pytest.mark.parametrize("way", ["absolute", "home", "url", "up"])
def test_gathering_stays_inside(
    session: Session, outside: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(outside.parent))
    up = Path("../" * len(session.folder.parts)) / outside.relative_to("/")
    ways: dict[str, Json] = {
        "absolute": {"glob": f"{outside.parent}/*.png"},
        "home": {"glob": "~/*.png"},
        "url": {"urls": [str(outside)]},
        "up": {"glob": str(up)},
    }
    document = workflow(gather(**ways[way]))
    assert "is outside" in session.fail(document).message
    assert session.run(document, trust=True).outputs


def test_the_user_may_type_a_pattern(session: Session, outside: Path) -> None:
    document = workflow(gather(glob="variable:glob"), variables={"glob": "*.png"})
    assert session.run(document, glob=f"{outside.parent}/*.png").outputs


def test_the_user_may_type_a_list(session: Session, outside: Path, cat: Path) -> None:
    document = workflow(gather(urls="variable:files"), variables={"files": ["cat.png"]})
    assert len(session.run(document, files=f"{outside}, cat.png").outputs) == 2


def test_images_beside_the_workflow_are_gathered(session: Session, cat: Path) -> None:
    assert len(session.run(workflow(gather(glob="*.png", urls=["cat.png"]))).outputs) == 2


def test_a_link_does_not_lead_outside(session: Session, outside: Path) -> None:
    (session.folder / "link.png").symlink_to(outside)
    with pytest.raises(RunFailed, match=r"'link\.png' is outside"):
        FileAccess(session.folder).source("link.png")


@pytest.mark.parametrize("pattern", ["{}/*.png", "{}/**/*.png", "../{0.name}/*", "linked/*", "*/*"])
def test_a_pattern_lists_no_folder_outside(
    session: Session, outside: Path, pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (session.folder / "linked").symlink_to(outside.parent)
    monkeypatch.chdir(session.folder)
    glob = pattern.format(outside.parent)
    listed: list[str] = []
    plain = Path.glob

    def listing(folder: Path, part: str) -> Any:
        listed.append(str(folder.resolve()))
        return plain(folder, part)

    monkeypatch.setattr(Path, "glob", listing)
    message = session.fail(workflow(gather(glob=glob))).message
    assert "is outside" in message or "no images match" in message
    assert str(outside.parent) not in listed
    document = workflow(gather(glob="variable:files"), variables={"files": "x"})
    assert session.run(document, files=glob).outputs  # the user named it


def test_a_pattern_with_an_unknown_home_matches_nothing(session: Session) -> None:
    error = session.fail(workflow(gather(glob="~nobody-of-this-name/*.png")))
    assert "no images match" in error.message


def test_only_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    access = FileAccess(tmp_path, typed=frozenset({"/dev/zero"}))
    for name in ("pipe.png", ".", "/dev/zero"):
        with pytest.raises(RunFailed, match=f"'{name}' is not a file"):
            access.source(name)
    assert access.source("missing.png") == str(tmp_path / "missing.png")


def test_the_folder_of_the_run_is_inside_for_its_sub_workflows(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "cat.png").touch()
    assert FileAccess(tmp_path / "parts", root=tmp_path).source("../cat.png")
    with pytest.raises(RunFailed):
        FileAccess(tmp_path / "parts").source("../cat.png")


def test_texts_are_found_at_any_depth() -> None:
    assert typed_texts({"a": "x", "b": [{"location": "y"}, 5]}) == {"x", "y"}

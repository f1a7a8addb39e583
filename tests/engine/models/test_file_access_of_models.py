"""Where the models lie that a workflow names: in the folders that it may read, or on the hub."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import save_file
from torch import zeros

from dw.engine.files.access import FileAccess
from dw.engine.models.source import Sources
from dw.errors import RunFailed
from dw.types import Permissions
from tests.engine.session import TRUSTED, Session, text_to_image

OUTSIDE = "is outside of the workflow's folder"


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights that no workflow of the session may read."""
    folder = tmp_path_factory.mktemp("elsewhere")
    save_file({"x": zeros(1)}, folder / "weights.safetensors")
    return folder


@pytest.mark.parametrize("way", ["absolute", "up", "link"])
def test_weights_elsewhere_are_not_read(elsewhere: Path, tmp_path: Path, way: str) -> None:
    (tmp_path / "link").symlink_to(elsewhere)
    up = Path("../" * len(tmp_path.parts)) / elsewhere.relative_to("/")
    names = {"absolute": str(elsewhere), "up": str(up)}
    name = names.get(way, "link")
    file = f"{name}/weights.safetensors"
    other = Permissions(allowed_dirs=(tmp_path / "other",))
    for access in (FileAccess(tmp_path), FileAccess(tmp_path, permissions=other)):
        with pytest.raises(RunFailed, match=OUTSIDE):
            Sources().file(name, "weights.safetensors", access=access, options={})
        with pytest.raises(RunFailed, match=OUTSIDE):
            Sources().file(file, None, access=access, options={})
        for find in (Sources().pipeline, lambda *a, **k: Sources().component(*a, None, **k)):
            with pytest.raises(RunFailed, match=OUTSIDE):
                find(name, access=access, options={})
    for access in (
        FileAccess(tmp_path, permissions=TRUSTED),
        FileAccess(tmp_path, permissions=Permissions(allowed_dirs=(elsewhere,))),
        FileAccess(tmp_path, typed=frozenset({file})),
    ):
        assert Sources().file(file, None, access=access, options={}).is_file()


def test_a_file_that_is_a_link_does_not_lead_outside(elsewhere: Path, tmp_path: Path) -> None:
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "a.safetensors").symlink_to(elsewhere / "weights.safetensors")
    with pytest.raises(RunFailed, match=OUTSIDE):
        Sources().file("lora", None, access=FileAccess(tmp_path), options={})


@pytest.mark.parametrize("name", ["../elsewhere", "/etc", "unet/../../x"])
def test_a_part_of_a_model_lies_inside_of_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "model").mkdir()
    for find in (Sources().component, Sources().file):
        for model in ("model", "somebody/model"):
            with pytest.raises(RunFailed, match="must be inside the model"):
                find(model, name, access=FileAccess(tmp_path), options={})


def test_a_workflow_does_not_choose_where_the_hubs_files_are_written(
    elsewhere: Path, tmp_path: Path
) -> None:
    options = {"cache_dir": str(elsewhere), "local_files_only": True}
    with pytest.raises(RunFailed, match=OUTSIDE):
        Sources().pipeline("a/b", access=FileAccess(tmp_path), options=options)


def test_the_model_that_the_user_names_may_lie_anywhere(session: Session, sd15: Path) -> None:
    session.allowed = ()
    document = text_to_image("variable:model")
    document["variables"] = {"model": "a/b"}
    assert OUTSIDE in session.fail(text_to_image(sd15)).message
    assert session.run(document, model=str(sd15)).outputs

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dw import file_systems
from dw.engine.models import mapped_files
from dw.engine.models.fingerprint import Fingerprint
from dw.engine.models.mapped_files import detach
from dw.file_systems import file_system
from dw.rehearsal import stand_in_lora
from tests.engine.session import Session, text_to_image

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")

MOUNTS = """\
22 27 0:21 / / rw,relatime - ext4 /dev/vda rw
30 22 0:40 / {tmp} rw - nfs4 server:/models rw,vers=4.2
31 22 0:41 / {tmp}/a\\040b rw - fuse.sshfs somebody@server: rw
32 30 0:42 / {tmp} rw shared:1 - xfs /dev/vdb rw
"""


class TestFileSystem:
    @pytest.fixture(autouse=True)
    def mounts(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (path := tmp_path / "mountinfo").write_text(MOUNTS.format(tmp=tmp_path / "m"))
        monkeypatch.setattr(file_systems, "MOUNTS", path)

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("x", "ext4"),
            ("m/x", "xfs"),
            ("m/a b/x", "fuse.sshfs"),
            ("m/a/x", "xfs"),
            ("mm", "ext4"),
        ],
    )
    def test_it_is_that_of_the_nearest_mount_and_of_the_last_one_there(
        self, tmp_path: Path, name: str, kind: str
    ) -> None:
        assert file_system(tmp_path / name) == kind

    def test_links_are_followed(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(tmp_path / "m" / "a b")
        assert file_system(tmp_path / "link" / "x") == "fuse.sshfs"

    def test_a_system_that_does_not_say(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(file_systems, "MOUNTS", tmp_path / "missing")
        assert file_system(tmp_path) is None


def test_this_system_says_it(tmp_path: Path) -> None:
    assert file_system(Path("/proc/self/maps")) == "proc"
    assert file_system(tmp_path) is not None


class Tied(torch.nn.Module):
    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.a = torch.nn.Parameter(weights["a"])
        self.b = self.a
        self.register_buffer("c", weights["c"])
        self.own = torch.nn.Parameter(torch.ones(2))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_file({"a": torch.ones(2048), "c": torch.ones(2048)}, tmp_path / "a.safetensors")
    return tmp_path / "a.safetensors"


def write_zeros(file: Path) -> None:
    """Over both tensors, in place."""
    with file.open("r+b") as opened:
        opened.seek(-4 * 4096, os.SEEK_END)
        opened.write(bytes(4 * 4096))


@pytest.mark.parametrize(
    ("kind", "expected"), [("nfs4", 1.0), ("fuse.sshfs", 1.0), ("ext4", 0.0), (None, 0.0)]
)
def test_weights_are_copied_where_writes_may_stay_unseen(
    file: Path, kind: str | None, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped_files, "file_system", lambda _: kind)
    model = Tied(load_file(file))
    own = model.own.data_ptr()
    detach([model, None, "tokenizer"], Fingerprint.of(file))
    write_zeros(file)
    numbers = [each.detach()[0].item() for each in (model.a, model.b, model.get_buffer("c"))]
    assert numbers == [expected] * 3
    assert model.a is model.b
    assert model.own.data_ptr() == own


def mapped_from(folder: Path) -> list[str]:
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [line for line in lines if str(folder) in line and ".safetensors" in line]


@pytest.mark.parametrize("kind", ["nfs4", "ext4"])
def test_a_run_maps_no_file_that_may_change_unseen(
    session: Session, sd15: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped_files, "file_system", lambda _: kind)
    model = Path(shutil.copytree(sd15, tmp_path / "model"))
    lora = Path(shutil.copy(stand_in_lora(model, "a", None), tmp_path / "model" / "a.safetensors"))
    document: dict[str, Any] = text_to_image(model, loras=[{"model_name": str(lora)}])
    images = session.hashes(document)
    assert bool(mapped_from(model)) == (kind == "ext4")
    monkeypatch.setattr(mapped_files, "file_system", lambda _: "ext4")
    session.engine.clear()
    assert session.hashes(document) == images

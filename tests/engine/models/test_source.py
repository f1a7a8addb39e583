from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from dw.engine.files.access import FileAccess
from dw.engine.models.source import Sources, has_only_pickles, has_variant
from dw.errors import RunFailed
from tests.engine.session import TRUSTED, Session, text_to_image


class Hub:
    """A hub's cache folder, laid out as huggingface_hub does: links from snapshots to blobs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.options = {"cache_dir": str(folder)}

    def publish(self, repository: str, model: Path, revision: str = "1" * 40) -> Path:
        root = self.folder / f"models--{repository.replace('/', '--')}"
        snapshot = root / "snapshots" / revision
        for file in (f for f in model.rglob("*") if f.is_file()):
            blob = root / "blobs" / file.relative_to(model).as_posix().replace("/", "-")
            blob.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, blob)
            link = snapshot / file.relative_to(model)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(blob)
        (root / "refs").mkdir(exist_ok=True)
        (root / "refs" / "main").write_text(revision)
        return snapshot


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    return Hub(tmp_path / "hub")


def find(name: str, hub: Hub, tmp_path: Path, **options: Any) -> Path:
    return Sources().pipeline(
        name, access=FileAccess(tmp_path, permissions=TRUSTED), options={**hub.options, **options}
    )


def test_a_folder_is_found_beside_the_workflow(tmp_path: Path, sd15: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mine").symlink_to(sd15)
    found = Sources().pipeline(
        "models/mine", access=FileAccess(tmp_path, permissions=TRUSTED), options={}
    )
    assert found == sd15.resolve()


def test_a_snapshot_is_found_without_the_network(hub: Hub, sd15: Path, tmp_path: Path) -> None:
    snapshot = hub.publish("somebody/tiny", sd15)
    assert find("somebody/tiny", hub, tmp_path) == snapshot


def test_a_snapshot_runs(session: Session, hub: Hub, sd15: Path) -> None:
    hub.publish("somebody/tiny", sd15)
    from_hub = text_to_image("somebody/tiny", from_pretrained_arguments=hub.options)
    assert session.hashes(from_hub) == session.hashes(text_to_image(sd15))


@pytest.mark.parametrize("missing", ["unet/diffusion_pytorch_model.safetensors", "vae"])
def test_half_a_snapshot_is_not_taken(hub: Hub, sd15: Path, tmp_path: Path, missing: str) -> None:
    path = hub.publish("somebody/tiny", sd15) / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(RunFailed, match="'somebody/tiny' is only partly in the hub's cache"):
        find("somebody/tiny", hub, tmp_path)


def test_a_snapshot_without_an_index_is_no_pipeline(hub: Hub, sd15: Path, tmp_path: Path) -> None:
    (hub.publish("somebody/tiny", sd15) / "model_index.json").unlink()
    with pytest.raises(RunFailed, match="cannot get the model 'somebody/tiny'"):
        find("somebody/tiny", hub, tmp_path)


def test_a_missing_shard_is_noticed(hub: Hub, sd15: Path, tmp_path: Path) -> None:
    unet = hub.publish("somebody/tiny", sd15) / "unet"
    index = {"weight_map": {"a": "x-00001-of-00002.safetensors"}}
    (unet / "x.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(RunFailed):
        find("somebody/tiny", hub, tmp_path)


def test_a_variant_that_is_not_there_is_not_taken(hub: Hub, sd15: Path, tmp_path: Path) -> None:
    snapshot = hub.publish("somebody/tiny", sd15)
    with pytest.raises(RunFailed):
        find("somebody/tiny", hub, tmp_path, variant="fp16")
    weights = snapshot / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".fp16.safetensors"))
    assert find("somebody/tiny", hub, tmp_path, variant="fp16") == snapshot
    with pytest.raises(RunFailed):
        find("somebody/tiny", hub, tmp_path)


@pytest.mark.parametrize("name", ["./no", "/no/such", "~/no-such-model", "a/b/c"])
def test_a_path_is_never_looked_up_on_the_hub(name: str, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"model folder .* does not exist"):
        Sources().pipeline(name, access=FileAccess(tmp_path, permissions=TRUSTED), options={})


def test_a_folder_that_is_no_pipeline_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunFailed, match=r"no model_index\.json"):
        Sources().pipeline("empty", access=FileAccess(tmp_path, permissions=TRUSTED), options={})


def test_a_component_may_lie_in_a_folder_of_a_repository(
    hub: Hub, sd15: Path, tmp_path: Path
) -> None:
    snapshot = hub.publish("somebody/tiny", sd15)
    sources = Sources()
    for name in ("vae", "tokenizer"):
        found = sources.component(
            "somebody/tiny",
            name,
            access=FileAccess(tmp_path, permissions=TRUSTED),
            options=hub.options,
        )
        assert found == snapshot / name
    with pytest.raises(RunFailed):
        sources.component(
            "somebody/tiny",
            "no",
            access=FileAccess(tmp_path, permissions=TRUSTED),
            options=hub.options,
        )


def test_a_file_may_lie_in_a_repository(hub: Hub, sd15: Path, tmp_path: Path) -> None:
    snapshot = hub.publish("somebody/tiny", sd15)
    for name, inside in [
        ("somebody/tiny", "unet/config.json"),
        ("somebody/tiny/unet/config.json", None),
        ("https://huggingface.co/somebody/tiny/blob/main/unet/config.json", None),
    ]:
        found = Sources().file(
            name, inside, access=FileAccess(tmp_path, permissions=TRUSTED), options=hub.options
        )
        assert found == snapshot / "unet" / "config.json"


def test_json_is_read_again_when_it_changed(tmp_path: Path) -> None:
    sources, path = Sources(), tmp_path / "a.json"
    path.write_text('{"a": 1}')
    assert sources.json(path) is sources.json(path)
    path.write_text('{"a": 22}')
    assert sources.json(path) == {"a": 22}


def test_pickles_and_variants_are_told_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "model.fp16.bin").touch()
    assert has_only_pickles(tmp_path)
    assert has_variant(tmp_path, "fp16")
    assert not has_variant(tmp_path, "bf16")
    assert not has_variant(tmp_path, None)
    (tmp_path / "model.safetensors").touch()
    assert not has_only_pickles(tmp_path)

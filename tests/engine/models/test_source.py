from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from dw.engine.files.access import FileAccess
from dw.engine.models.source import INDEX, Sources
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
    with pytest.raises(
        RunFailed, match=r"only partly in the hub's cache, without model_index\.json"
    ):
        find("somebody/tiny", hub, tmp_path)


def test_a_missing_shard_is_noticed(hub: Hub, sd15: Path, tmp_path: Path) -> None:
    unet = hub.publish("somebody/tiny", sd15) / "unet"
    index = {"weight_map": {"a": "x-00001-of-00002.safetensors"}}
    (unet / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(RunFailed, match="only partly"):
        find("somebody/tiny", hub, tmp_path)


def test_a_snapshot_of_one_variant_is_whole_for_whoever_wants_it(
    hub: Hub, sd15: Path, tmp_path: Path
) -> None:
    snapshot = hub.publish("somebody/tiny", sd15)
    for weights in snapshot.rglob("*.safetensors"):
        weights.rename(weights.with_suffix(".fp16.safetensors"))
    assert find("somebody/tiny", hub, tmp_path, variant="fp16") == snapshot
    with pytest.raises(RunFailed, match="only partly"):
        find("somebody/tiny", hub, tmp_path)


def test_a_blob_that_is_gone_is_named(
    hub: Hub, sd15: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    snapshot = hub.publish("somebody/tiny", sd15)
    blob = (snapshot / "unet" / "diffusion_pytorch_model.safetensors").resolve()
    blob.unlink()
    with pytest.raises(RunFailed) as caught:
        find("somebody/tiny", hub, tmp_path)
    assert caught.value.message == (
        "the model 'somebody/tiny' is only partly in the hub's cache, without "
        f"unet/diffusion_pytorch_model.safetensors (blob {blob.name}); "
        "HF_HUB_OFFLINE is set, so nothing is downloaded"
    )


@pytest.mark.parametrize("revision", ["fp16", "2" * 40])
def test_a_revision_that_is_not_in_the_cache_is_told_as_one(
    hub: Hub, sd15: Path, tmp_path: Path, revision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hub.publish("somebody/tiny", sd15)
    with pytest.raises(RunFailed) as caught:
        find("somebody/tiny", hub, tmp_path, revision=revision)
    assert caught.value.message == (
        f"cannot get revision {revision!r} of 'somebody/tiny', which is not in the Hub cache; "
        "these are: main; HF_HUB_OFFLINE is set, so nothing is downloaded"
    )


def test_a_commit_without_a_branch_is_a_revision(hub: Hub, sd15: Path, tmp_path: Path) -> None:
    snapshot = hub.publish("somebody/tiny", sd15)
    (snapshot.parents[1] / "refs" / "main").unlink()
    assert find("somebody/tiny", hub, tmp_path, revision="1" * 40) == snapshot
    with pytest.raises(RunFailed, match=f"revision 'main' .* these are: {'1' * 40};"):
        find("somebody/tiny", hub, tmp_path)


def test_what_allows_no_download_is_told(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = "cannot get the model 'somebody/none': no local folder of that name, not in the Hub"
    with pytest.raises(RunFailed, match=f"{place} cache; the hub request failed: "):
        find("somebody/none", hub, tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(RunFailed, match=f"{place} cache; HF_HUB_OFFLINE is set"):
        find("somebody/none", hub, tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(RunFailed, match=f"{place} cache; 'local_files_only' is set"):
        find("somebody/none", hub, tmp_path, local_files_only=True)


def test_a_misspelt_folder_beside_the_right_one_is_recognized(tmp_path: Path, sd15: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "dreamshaper").symlink_to(sd15)
    access = FileAccess(tmp_path, permissions=TRUSTED)
    with pytest.raises(RunFailed, match=r"did you mean 'dreamshaper'\?\)"):
        Sources().pipeline("models/dreamshapr", access=access, options={})


@pytest.mark.parametrize(
    "name", ["./no", "/no/such", "~/no-such-model", "a/b/c", "a/b.safetensors", "b.ckpt"]
)
def test_a_path_is_never_looked_up_on_the_hub(name: str, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"model folder .* does not exist"):
        Sources().pipeline(name, access=FileAccess(tmp_path, permissions=TRUSTED), options={})


def refusal(look_up: str, name: str, folder: Path, inside: str | None = None) -> RunFailed:
    """What `Sources` says of a name on this machine."""
    sources, access = Sources(), FileAccess(folder, permissions=TRUSTED)
    given = (name,) if look_up == "pipeline" else (name, inside)
    with pytest.raises(RunFailed) as caught:
        getattr(sources, look_up)(*given, access=access, options={})
    return caught.value


def test_a_folder_that_is_no_pipeline_is_told_what_it_is(tmp_path: Path, sd15: Path) -> None:
    (tmp_path / "model").symlink_to(sd15)
    (tmp_path / "empty").mkdir()
    start = "is not the folder of a diffusers pipeline:"
    assert refusal("pipeline", "empty", tmp_path).message.endswith(f"{start} it has no {INDEX}")
    error = refusal("pipeline", "model/unet", tmp_path)
    assert error.message == f"'model/unet' {start} it holds one component"
    assert error.hints == ("'model' is a pipeline",)
    shutil.copy(
        sd15 / "vae" / "diffusion_pytorch_model.safetensors", tmp_path / "empty" / "x.safetensors"
    )
    hints = refusal("pipeline", "empty", tmp_path).hints
    assert hints == ('"from_single_file": "empty/x.safetensors"   loads a checkpoint in one file',)


@pytest.mark.parametrize("look_up", ["pipeline", "component"])
def test_a_file_in_the_place_of_a_folder_names_the_key(
    tmp_path: Path, sd15: Path, look_up: str
) -> None:
    shutil.copy(sd15 / "vae" / "diffusion_pytorch_model.safetensors", tmp_path / "x.safetensors")
    error = refusal(look_up, "x.safetensors", tmp_path)
    assert error.message == "'x.safetensors' is a file; 'model_name' names a folder or a hub id"
    assert error.hints == ('"from_single_file": "x.safetensors"   in its place loads the file',)


def test_a_pipeline_in_the_place_of_a_file_names_the_key(tmp_path: Path, sd15: Path) -> None:
    (tmp_path / "model").symlink_to(sd15)
    error = refusal("file", "model", tmp_path)
    assert error.message == "'model' is the folder of a whole pipeline, not a file of weights"
    assert error.hints[0].startswith('"model_name": "model"')  # type: ignore[union-attr]
    error = refusal("component", "model", tmp_path, "vea")
    assert error.message == "the model 'model' has no folder 'vea' (did you mean 'vae'?)"


def test_a_file_that_is_missing_is_told_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "style.safetensors").touch()
    for name in ("stile.safetensors", "./stile.safetensors"):
        error = refusal("file", name, tmp_path)
        assert (
            error.message == f"the file {name!r} does not exist (did you mean 'style.safetensors'?)"
        )
    error = refusal("file", str(tmp_path), tmp_path, "stile.safetensors")
    assert error.message.endswith("no file 'stile.safetensors' (did you mean 'style.safetensors'?)")
    (tmp_path / "link.safetensors").symlink_to("/nowhere/x")
    error = refusal("file", "link.safetensors", tmp_path)
    assert error.message.endswith("is a link to '/nowhere/x', which does not exist")


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

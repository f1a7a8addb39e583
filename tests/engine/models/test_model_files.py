"""Links in a model's folder, and configs in it that lead to code or to further files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dw.engine.files.access import FileAccess
from dw.engine.models.source import Sources
from dw.errors import RunFailed, TrustWorkflow
from dw.types import DEFAULT_PERMISSIONS, Permissions

TRUSTED = Permissions(trust=True)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a pipeline with one component, beside a workflow."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "w" / "model"
    (folder / "unet").mkdir(parents=True)
    (folder / "model_index.json").write_text('{"_class_name": "X", "unet": ["diffusers", "Y"]}')
    (folder / "unet" / "config.json").write_text('{"_attn_implementation": "sdpa"}')
    (folder / "unet" / "x.safetensors").touch()
    return folder


@pytest.fixture
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that no workflow may read."""
    folder = tmp_path_factory.mktemp("secret")
    (folder / "config.json").write_text("{}")
    (folder / "x.safetensors").touch()
    return folder


def access(model: Path, permissions: Permissions = DEFAULT_PERMISSIONS, *typed: str) -> FileAccess:
    return FileAccess(model.parent, permissions=permissions, typed=frozenset(typed))


def find(access: FileAccess, name: str = "model", subfolder: str | None = None) -> list[Path]:
    """The folders that each method of Sources finds for the model."""
    sources = Sources(downloads=False)
    whole = [] if subfolder else [sources.pipeline, sources.modular]
    found = [each(name, access=access, options={}) for each in whole]
    return [*found, sources.component(name, subfolder, access=access, options={})]


def test_a_model_of_plain_files_is_found(model: Path) -> None:
    assert find(access(model)) == [model] * 3
    assert find(access(model), subfolder="unet") == [model / "unet"]


@pytest.mark.parametrize("target", ["config.json", "x.safetensors", ""])
@pytest.mark.parametrize("place", ["link.json", "unet/link", "unet/inner/link"])
def test_a_link_stays_inside(model: Path, secret: Path, target: str, place: str) -> None:
    (model / "unet" / "inner").mkdir()
    (model / place).symlink_to(secret / target)
    with pytest.raises(RunFailed, match="'model' is outside of the workflow's folder"):
        find(access(model))
    assert find(access(model, TRUSTED))
    assert find(access(model, Permissions(allowed_dirs=(secret,))))
    assert find(access(model, Permissions(), "model"))  # the user named it


def test_a_component_is_no_link_to_the_outside(model: Path, secret: Path) -> None:
    (model / "vae").symlink_to(secret)
    with pytest.raises(RunFailed, match="outside"):
        find(access(model), subfolder="vae")


def test_a_link_within_the_allowed_folders_is_one_of_the_models(model: Path) -> None:
    (model.parent / "shared.json").write_text("{}")
    (model / "unet" / "link.json").symlink_to(model.parent / "shared.json")
    assert find(access(model))


def test_a_cache_of_the_hub_that_the_workflow_names_has_no_links_to_the_outside(
    model: Path, secret: Path
) -> None:
    repository = model.parent / "hub" / "models--a--b"
    snapshot = repository / "snapshots" / ("0" * 40)
    (snapshot / "unet").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    (snapshot / "unet" / "config.json").symlink_to(secret / "config.json")
    (snapshot / "unet" / "x.safetensors").symlink_to(secret / "x.safetensors")
    options = {"cache_dir": str(model.parent / "hub")}
    sources = Sources(downloads=False)
    with pytest.raises(RunFailed, match="outside"):
        sources.component("a/b", "unet", access=access(model), options=options)
    found = sources.component("a/b", "unet", access=access(model, TRUSTED), options=options)
    assert found == snapshot / "unet"


CONFIGS: list[tuple[str, Any, str]] = [
    ("config.json", {"_attn_implementation": "org/name"}, "says '_attn_implementation' must be"),
    ("config.json", {"a": [{"attn_implementation": "o/n"}]}, "says 'attn_implementation' must be"),
    ("config.json", {"_attn_implementation_internal": "o/n"}, "says '_attn_implementation' must"),
    ("config.json", {"experts_implementation": "deepgemm"}, "says 'experts_implementation' must"),
    ("processor_config.json", {"audio_tokenizer_name_or_path": "a/b"}, "would be loaded as well"),
    ("tokenizer_config.json", {"sp_model_kwargs": {"model_file": "x"}}, "would be loaded as well"),
    ("tokenizer_config.json", {"fast_tokenizer_files": ["../x.json"]}, "which is outside of it"),
    ("preprocessor_config.json", {"repo_path": "/etc"}, "which is outside of it"),
    ("preprocessor_config.json", {"class_info_file": "../x"}, "which is outside of it"),
    ("adapter_config.json", {"base_model_name_or_path": "a/b"}, "makes the loader load another"),
    ("x.safetensors.index.json", {"weight_map": {"a": "../x.safetensors"}}, "not a file beside it"),
    ("x.safetensors.index.json", {"weight_map": {"a": "/x.safetensors"}}, "not a file beside it"),
    ("x.safetensors.index.json", {"weight_map": {"a": 5}}, "not a file beside it"),
]


@pytest.mark.parametrize(("name", "content", "message"), CONFIGS)
def test_a_config_leads_nowhere(model: Path, name: str, content: Any, message: str) -> None:
    (model / "unet" / name).write_text(json.dumps(content))
    with pytest.raises(RunFailed) as error:
        find(access(model), subfolder="unet")
    assert message in error.value.message
    assert repr(name) in error.value.message
    assert error.value.remedies == (TrustWorkflow("you trust the model"),)
    assert find(access(model, TRUSTED), subfolder="unet")


def test_a_typed_model_is_judged_too(model: Path) -> None:
    (model / "unet" / "config.json").write_text('{"attn_implementation": "org/name"}')
    with pytest.raises(RunFailed, match="may not be loaded"):
        find(access(model, Permissions(), "model"))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", '{"auto_map": {"AutoModel": "x.Y"}, "_name_or_path": "/home/x"}'),
        ("config.json", "[1, {]"),
        ("config.json", "[" * 100_000),
        ("preprocessor_config.json", '{"repo_path": "shi-labs/oneformer_demo"}'),
        ("x.safetensors.index.json", '{"weight_map": {"a": "x-1-of-2.safetensors"}}'),
        ("notes.json", '{"attn_implementation": "org/name"}'),
    ],
)
def test_what_no_loader_follows_is_left_alone(model: Path, name: str, content: str) -> None:
    (model / name).write_text(content)
    Sources(downloads=False).files.require_harmless(model, "m", access(model), is_own=False)


def test_a_file_is_read_again_when_it_changed(model: Path) -> None:
    sources, config = Sources(downloads=False), model / "unet" / "config.json"
    for _ in range(2):
        sources.component("model", "unet", access=access(model), options={})
    config.write_text('{"attn_implementation": "org/name"}')
    with pytest.raises(RunFailed, match="may not be loaded"):
        sources.component("model", "unet", access=access(model), options={})


@pytest.mark.parametrize("revision", ["../../x", "/x", "a/../b", ""])
def test_a_revision_is_no_path(model: Path, revision: str) -> None:
    sources = Sources(downloads=False)
    with pytest.raises(RunFailed, match="'revision' must be the name of a branch"):
        sources.component("a/b", None, access=access(model), options={"revision": revision})
    with pytest.raises(RunFailed, match="'revision' must be the name of a branch"):
        sources.file(
            f"https://huggingface.co/a/b/resolve/{revision.replace('/', '%2F') or '%20'}/x.bin",
            None,
            access=access(model),
            options={},
        )


@pytest.mark.parametrize("inside", ["../../x.safetensors", "a/../../x.safetensors"])
def test_a_file_of_the_hub_is_inside_its_repository(model: Path, inside: str) -> None:
    with pytest.raises(RunFailed, match="must be inside the model"):
        Sources(downloads=False).file(f"a/b/{inside}", None, access=access(model), options={})

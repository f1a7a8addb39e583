"""Sources: from the names of models to folders on this machine.

A hub id is resolved once, to the folder of its snapshot, and everything is loaded from there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from diffusers import DiffusionPipeline
from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import GatedRepoError, HFValidationError, LocalEntryNotFoundError

from dw.engine.files.access import FileAccess
from dw.engine.models.fingerprint import WEIGHTS
from dw.engine.models.hub_address import hub_file
from dw.engine.models.model_files import ModelFiles
from dw.errors import CheckModelName, LoginToHub, Rehearse, RunFailed, TrustWorkflow
from dw.types import FileState
from dw.workflow.builtin import is_builtin, require_model
from dw.workflow.checks.options import option_error
from dw.workflow.paths import resolve

PICKLES = (".bin", ".pt", ".pth", ".ckpt")
HUB_OPTIONS = ("revision", "cache_dir", "local_files_only", "force_download", "token")
MISSING = (CheckModelName(), Rehearse())
INDEX = "model_index.json"
MODULAR_INDEXES = ("modular_model_index.json", INDEX)
READ_BY_LOADERS = (*WEIGHTS, ".json", ".model", ".txt", ".jinja")

Json = dict[str, Any]
Find = TypeVar("Find", bound=Callable[..., Path])


def _judged(find: Find) -> Find:
    """A method that finds the folder of a model; without trust its files are judged."""

    @wraps(find)
    def judged(
        self: Sources, name: str, *where: Any, access: FileAccess, options: Mapping[str, Any]
    ) -> Path:
        folder = find(self, name, *where, access=access, options=options)
        if not access.permissions.trust:
            is_local = is_builtin(name) or resolve(name, access.folder).is_dir()
            is_own = not is_local and options.get("cache_dir") is None
            if not is_own and not is_builtin(name):
                access.require(folder, name)  # it may be a link
            self.files.require_harmless(folder, name, access, is_own=is_own)
        return folder

    return cast(Find, judged)


class Sources:
    """Resolves names to folders, and caches what it reads until the files change.

    Without `downloads` it finds only what is on this machine.
    """

    def __init__(self, *, downloads: bool = True) -> None:
        self._limits = {} if downloads else {"local_files_only": True}
        self._json: dict[FileState, Json] = {}
        self.files = ModelFiles()

    @_judged
    def pipeline(self, name: str, *, access: FileAccess, options: Mapping[str, Any]) -> Path:
        """The folder of a whole pipeline. Downloads it when it is a hub id that is not cached.

        Raises RunFailed when there is no such folder or model, or the hub cannot be reached.
        """
        options = self._limited(access, options)
        if (folder := _local(name, access)) is not None:
            return _with_index(folder, name)
        snapshot = _snapshot(name, options)
        if snapshot is not None and self._is_pipeline(snapshot, options.get("variant")):
            return snapshot
        try:
            folder = Path(DiffusionPipeline.download(name, **options))
        except (OSError, ValueError) as error:
            raise _not_found(name, error) from error
        if not self._is_pipeline(folder, options.get("variant")):  # the hub could not be reached
            raise RunFailed(f"the model {name!r} is only partly in the hub's cache", hints=MISSING)
        return folder

    def has(self, name: str, subfolder: Any, options: Mapping[str, Any]) -> bool:
        """Whether the files that would be loaded from a repository are in the hub's cache."""
        snapshot, variant = _snapshot(name, options), options.get("variant")
        if snapshot is None:
            return False
        if (snapshot / INDEX).is_file() and not subfolder:
            return self._is_pipeline(snapshot, variant)
        return self._is_component(snapshot / str(subfolder or ""), variant)

    @_judged
    def modular(self, name: str, *, access: FileAccess, options: Mapping[str, Any]) -> Path:
        """The folder of a modular pipeline's index. Its components may be elsewhere."""
        options = self._limited(access, options)
        if (folder := _local(name, access)) is not None:
            return _with_index(folder, name, MODULAR_INDEXES)
        folder = _snapshot(name, options)
        if folder is None or not _has_index(folder, MODULAR_INDEXES):
            folder = _download(name, [*MODULAR_INDEXES, "modular_config.json", "*.py"], options)
        return _with_index(folder, name, MODULAR_INDEXES)

    @_judged
    def component(
        self, name: str, subfolder: str | None, *, access: FileAccess, options: Mapping[str, Any]
    ) -> Path:
        """The folder of one component, which may be a repository of its own."""
        inside = _inside(subfolder or "")
        options = self._limited(access, options)
        root = _local(name, access)
        if root is None:
            root = _snapshot(name, options)
            if root is None or not self._is_component(root / inside, options.get("variant")):
                root = _download_folder(name, subfolder, options)
        if not (root / inside).is_dir():
            raise RunFailed(f"the model {name!r} has no folder {inside!r}")
        return root / inside

    def file(
        self, name: str, file_name: str | None, *, access: FileAccess, options: Mapping[str, Any]
    ) -> Path:
        """One file: `name` itself, or `file_name` in the folder or repository `name`.

        Raises RunFailed when it does not exist, on the hub either.
        """
        options = self._limited(access, options)
        if is_builtin(name):
            return _file_in(require_model(name), file_name)
        path = resolve(name, access.folder)
        if path.is_file():
            return access.path(name)
        if path.is_dir():
            file = _file_in(access.path(name), file_name)
            access.require(file, name)  # it may be a link
            return file
        found = hub_file(name)
        revision = {} if found.revision is None else {"revision": found.revision}
        inside = found.path or file_name
        return _download_file(
            found.repository,
            None if inside is None else _inside(inside),
            self._limited(access, {**options, **revision}),
        )

    def index(self, folder: Path) -> Json:
        """The model_index.json of a pipeline's folder."""
        return self.json(folder / INDEX)

    def modular_index(self, folder: Path) -> Json:
        """The index that diffusers reads for a modular pipeline."""
        return self.json(next(folder / n for n in MODULAR_INDEXES if (folder / n).is_file()))

    def json(self, path: Path) -> Json:
        """The content of a JSON file, read again when its stat changed. Do not mutate it."""
        file = FileState.of(path)
        if file not in self._json:
            self._json = {f: content for f, content in self._json.items() if f.path != path}
            self._json[file] = json.loads(path.read_text(encoding="utf-8"))
        return self._json[file]

    def _limited(self, access: FileAccess, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """The options of a look-up. A hub cache that the workflow names is written to, so access to
        it is checked. A revision is a part of paths in the cache."""
        if error := option_error("revision", options.get("revision")):
            raise RunFailed(error)
        if (folder := options.get("cache_dir")) is not None:
            access.require(Path(folder), str(folder))
        return {**options, **self._limits}

    def _is_pipeline(self, folder: Path, variant: str | None) -> bool:
        """Whether a snapshot holds each component that its index names. A partial download does
        not, and neither does one of another variant."""
        if not (folder / INDEX).is_file():
            return False
        entries = self.index(folder).items()
        listed = {n: v for n, v in entries if isinstance(v, list) and n != "_class_name"}
        names = [n for n, (library, *_) in listed.items() if library is not None]
        parts = [folder / name for name in names]
        if "config.json" in os.listdir(folder):  # a component without a folder is in the root
            parts = [part if part.is_dir() else folder for part in parts]
        has_wanted = variant is None or any(has_variant(part, variant) for part in parts)
        return has_wanted and all(self._is_component(part, variant) for part in parts)

    def _is_component(self, folder: Path, variant: str | None) -> bool:
        """Whether a folder holds a model's weights with all shards, or one without weights."""
        names = set(os.listdir(folder)) if folder.is_dir() else set()
        for index in (n for n in names if n.endswith(".safetensors.index.json")):
            if not names.issuperset(self.json(folder / index)["weight_map"].values()):
                return False
        if "config.json" in names:
            weights = [n for n in names if n.endswith(WEIGHTS)]
            return any(_is_of(n, None) for n in weights) or has_variant(folder, variant)
        return any(n.endswith(READ_BY_LOADERS) for n in names)


def has_only_pickles(source: Path) -> bool:
    """Whether the only weights there are pickles; unpickling can run code."""
    if source.is_file():
        return source.name.endswith(PICKLES)
    names = [n for n in os.listdir(source) if n.endswith(WEIGHTS)]
    return bool(names) and all(n.endswith(PICKLES) for n in names)


def refuse_pickles(source: Path, *, are_preferred: bool = False) -> None:
    """Raises RunFailed when the weights there are pickles only, or when there are some and
    `are_preferred`."""
    has_some = source.is_dir() and any(name.endswith(PICKLES) for name in os.listdir(source))
    if has_only_pickles(source) or (are_preferred and has_some):
        raise RunFailed(
            f"the weights in {str(source)!r} are pickles; reading them can run code",
            hints=[TrustWorkflow("you trust them"), "or use safetensors files"],
        )


def has_variant(folder: Path, variant: str | None) -> bool:
    """Whether a component has files for `variant`; otherwise diffusers loads the plain ones."""
    return (
        variant is not None
        and folder.is_dir()
        and any(_is_of(name, variant) for name in os.listdir(folder))
    )


def weight_files(source: Path, variant: str | None) -> list[Path]:
    """The files that a component's weights are loaded from. `source`: a file or a folder."""
    if source.is_file():
        return [source]
    names = sorted(os.listdir(source)) if source.is_dir() else ()
    found = [source / n for n in names if n.endswith(WEIGHTS) and _is_of(n, variant)]
    return [file for file in found if file.suffix == ".safetensors"] or found


def _is_of(name: str, variant: str | None) -> bool:
    """Whether a file belongs to a variant, or to none: `model.fp16-00001-of-00002.safetensors`."""
    if variant is None:
        return "." not in Path(name).stem
    return f".{variant}." in name or f".{variant}-" in name


def _inside(name: str) -> str:
    """The name of a folder or file in a model. Raises RunFailed when it leads out of the model."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise RunFailed(f"{name!r} must be inside the model")
    return name


def _local(name: str, access: FileAccess) -> Path | None:
    """The local folder of `name`, or None when it can only be a hub id."""
    if is_builtin(name):
        return require_model(name)
    path = resolve(name, access.folder)
    if path.is_dir():
        return access.path(name).resolve()
    if (
        Path(name).is_absolute()
        or name.startswith((".", "~"))
        or name.count("/") > 1
        or "\\" in name
    ):
        raise RunFailed(
            f"model folder {name!r} does not exist",
            hints=[f"relative names start at {access.folder} or at the current folder"],
        )
    return None


def _has_index(folder: Path, indexes: Iterable[str]) -> bool:
    return any((folder / index).is_file() for index in indexes)


def _with_index(folder: Path, name: str, indexes: Iterable[str] = (INDEX,)) -> Path:
    if _has_index(folder, indexes):
        return folder
    raise RunFailed(
        f"{name!r} is not the folder of a diffusers pipeline: it has no {' or '.join(indexes)}",
        hints=["a checkpoint in one file is loaded with from_single_file"],
    )


def _snapshot(name: str, options: Mapping[str, Any]) -> Path | None:
    """The newest local snapshot of a repository, complete or not."""
    try:
        return Path(snapshot_download(name, **{**_hub(options), "local_files_only": True}))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def _hub(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in HUB_OPTIONS if name in options}


def _download_folder(name: str, subfolder: str | None, options: Mapping[str, Any]) -> Path:
    inside = f"{subfolder}/" if subfolder else ""
    patterns = [f"{inside}*{ending}" for ending in READ_BY_LOADERS if ending not in PICKLES]
    return _download(name, patterns, options)


def _download(name: str, patterns: list[str], options: Mapping[str, Any]) -> Path:
    try:
        return Path(snapshot_download(name, allow_patterns=patterns, **_hub(options)))
    except (OSError, ValueError) as error:
        raise _not_found(name, error) from error


def _file_in(folder: Path, file_name: str | None) -> Path:
    if file_name is not None:
        if (path := folder / _inside(file_name)).is_file():
            return path
        raise RunFailed(f"{str(folder)!r} has no file {file_name!r}")
    weights = sorted(p for p in folder.iterdir() if p.suffix == ".safetensors")
    if len(weights) == 1:
        return weights[0]
    found = f"{len(weights)} safetensors files" if weights else "no safetensors file"
    raise RunFailed(f"{str(folder)!r} has {found}; name one with weight_name")


def _download_file(repository: str, inside: str | None, options: Mapping[str, Any]) -> Path:
    hub = _hub(options)
    try:
        inside = inside or _only_weights(repository, hub)
        try:
            return Path(hf_hub_download(repository, inside, **{**hub, "local_files_only": True}))
        except LocalEntryNotFoundError:
            return Path(hf_hub_download(repository, inside, **hub))
    except (OSError, ValueError) as error:
        raise _not_found(repository, error) from error


def _only_weights(repository: str, hub: Mapping[str, Any]) -> str:
    snapshot = _snapshot(repository, hub)
    if snapshot is not None and any(n.endswith(".safetensors") for n in os.listdir(snapshot)):
        return _file_in(snapshot, None).name
    return (
        "pytorch_lora_weights.safetensors"  # the name that diffusers gives to a LoRA that it saves
    )


def _not_found(name: str, error: Exception) -> RunFailed:
    if isinstance(error, GatedRepoError):
        return RunFailed(
            f"the model {name!r} is gated on the hub",
            hints=[
                f"ask for access at https://huggingface.co/{name}",
                LoginToHub(),
            ],
        )
    return RunFailed(
        f"cannot get the model {name!r}: no local folder of that name, not in the Hub cache, "
        f"and the Hub request failed ({type(error).__name__})",
        hints=MISSING,
    )

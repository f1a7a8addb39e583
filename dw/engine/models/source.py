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
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

from dw.engine.files.access import FileAccess
from dw.engine.models.component_files import has_variant, weight_files
from dw.engine.models.model_files import ModelFiles
from dw.engine.models.not_found import lack, missing_path, not_found, not_whole
from dw.engine.models.weights_file import PICKLES, check_weights
from dw.errors import RunFailed, did_you_mean
from dw.types import FileState
from dw.workflow.builtin import is_builtin, require_model
from dw.workflow.checks.options import option_error
from dw.workflow.hub_address import hub_file
from dw.workflow.paths import WEIGHTS, is_local, resolve

HUB_OPTIONS = ("revision", "cache_dir", "local_files_only", "force_download", "token")
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
        self.require_harmless(folder, name, access=access, options=options)
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
        trouble: Exception | None = None
        try:
            folder = Path(DiffusionPipeline.download(name, **options))
        except (OSError, ValueError) as error:
            if snapshot is None:
                raise not_found(name, options, error, access.folder) from error
            folder, trouble = snapshot, error
        # What is whole without the variant is taken: its reader tells the variants that there are.
        if gaps := self._gaps(folder, options.get("variant")):
            raise not_whole(name, folder, gaps, options, trouble)
        return folder

    def require_harmless(
        self, folder: Path, name: str, *, access: FileAccess, options: Mapping[str, Any]
    ) -> None:
        """Raises RunFailed for a folder of the model `name` that the workflow may not load."""
        if access.permissions.trust:
            return
        is_here = is_builtin(name) or resolve(name, access.folder).is_dir()
        is_own = not is_here and options.get("cache_dir") is None
        if not is_own and not is_builtin(name):
            access.require(folder, name)  # it may be a link
        self.files.require_harmless(folder, name, access, is_own=is_own)

    def lack(
        self, name: str, subfolder: str | None, file: str | None, options: Mapping[str, Any]
    ) -> str | None:
        """What the hub's cache lacks of what would be loaded from a repository: of a pipeline, of
        the component in a folder, or of one file."""
        snapshot = _snapshot(name, options)
        gaps = [] if snapshot is None else self._lack(snapshot, subfolder, file, options)
        return lack(name, snapshot, gaps, options)

    def _lack(
        self, snapshot: Path, subfolder: str | None, file: str | None, options: Mapping[str, Any]
    ) -> list[str]:
        inside, variant = file or subfolder or "", options.get("variant")
        if file is not None:
            return [] if (snapshot / inside).is_file() else [inside]
        if (snapshot / INDEX).is_file() and not subfolder:
            gaps = self._gaps(snapshot, variant)
            return gaps or (
                [] if self._is_pipeline(snapshot, variant) else [f"variant {variant!r}"]
            )
        is_there = self._is_component(snapshot / inside, variant)
        return [] if is_there else [inside or "its weights"]

    @_judged
    def modular(self, name: str, *, access: FileAccess, options: Mapping[str, Any]) -> Path:
        """The folder of a modular pipeline's index. Its components may be elsewhere."""
        options = self._limited(access, options)
        if (folder := _local(name, access)) is not None:
            return _with_index(folder, name, MODULAR_INDEXES)
        folder = _snapshot(name, options)
        if folder is None or not _has_index(folder, MODULAR_INDEXES):
            patterns = [*MODULAR_INDEXES, "modular_config.json", "*.py"]
            folder = _download(name, patterns, access, options)
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
                root = _download_component(name, inside, access, options)
        if not (root / inside).is_dir():
            folders = sorted(path.name for path in root.iterdir() if path.is_dir())
            hint = did_you_mean(inside, folders) or f"; it has {', '.join(folders) or 'none'}"
            raise RunFailed(f"the model {name!r} has no folder {inside!r}{hint}")
        return root / inside

    def file(
        self, name: str, file_name: str | None, *, access: FileAccess, options: Mapping[str, Any]
    ) -> Path:
        """One file: `name` itself, or `file_name` in the folder or repository `name`.

        Raises RunFailed when it does not exist, on the hub either.
        """
        options = self._limited(access, options)
        if is_builtin(name):
            return _file_in(require_model(name), name, file_name)
        path = resolve(name, access.folder)
        if path.is_file():
            return access.path(name)
        if path.is_dir():
            file = _file_in(access.path(name), name, file_name)
            access.require(file, name)  # it may be a link
            return file
        if is_local(name) or (name.endswith(WEIGHTS) and path.parent.is_dir()):
            raise missing_path(name, access.folder, "the file")
        found = hub_file(name)
        revision = {} if found.revision is None else {"revision": found.revision}
        inside = found.path or file_name
        return _download_file(
            found.repository,
            None if inside is None else _inside(inside),
            access,
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
        """Whether a snapshot holds all of a pipeline, in this variant. A partial download does not,
        and neither does one of another variant."""
        if self._gaps(folder, variant):
            return False
        return variant is None or any(has_variant(p, variant) for p in self._parts(folder).values())

    def _gaps(self, folder: Path, variant: str | None) -> list[str]:
        """What a snapshot lacks of a pipeline: its index, or components that the index names."""
        if not (folder / INDEX).is_file():
            return [INDEX]
        parts = self._parts(folder).items()
        return [name for name, part in parts if not self._is_component(part, variant)]

    def _parts(self, folder: Path) -> dict[str, Path]:
        """The folders of the components that an index names."""
        entries = self.index(folder).items()
        listed = {n: v for n, v in entries if isinstance(v, list) and n != "_class_name"}
        parts = {n: folder / n for n, (library, *_) in listed.items() if library is not None}
        if "config.json" in os.listdir(folder):  # a component without a folder is in the root
            parts = {n: part if part.is_dir() else folder for n, part in parts.items()}
        return parts

    def _is_component(self, folder: Path, variant: str | None) -> bool:
        """Whether a folder holds a model's weights with all shards, or one without weights."""
        names = (
            {n for n in os.listdir(folder) if (folder / n).exists()} if folder.is_dir() else set()
        )
        if "config.json" in names:
            files = weight_files(folder, variant) or weight_files(folder)
            return bool(files) and all(file.exists() for file in files)
        return any(n.endswith(READ_BY_LOADERS) for n in names)


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
    if path.is_file():
        check_weights(access.path(name), "model", trust=True)  # it may be something else altogether
        raise RunFailed(
            f"{name!r} is a file; 'model_name' names a folder or a hub id",
            hints=[f'"from_single_file": "{name}"   in its place loads the file'],
        )
    if is_local(name) or name.count("/") > 1:
        raise missing_path(name, access.folder, "the model folder")
    return None


def _has_index(folder: Path, indexes: Iterable[str]) -> bool:
    return any((folder / index).is_file() for index in indexes)


def _with_index(folder: Path, name: str, indexes: Iterable[str] = (INDEX,)) -> Path:
    if _has_index(folder, indexes):
        return folder
    what, hints = f"it has no {' or '.join(indexes)}", []
    files = sorted(p.name for p in folder.iterdir() if p.suffix in WEIGHTS)
    if (folder / "config.json").is_file():
        what = "it holds one component"
        if _has_index(folder.parent, indexes):
            hints = [f"{str(Path(name).parent)!r} is a pipeline"]
    elif files:
        hints = [f'"from_single_file": "{Path(name, files[0])}"   loads a checkpoint in one file']
    raise RunFailed(f"{name!r} is not the folder of a diffusers pipeline: {what}", hints=hints)


def _snapshot(name: str, options: Mapping[str, Any]) -> Path | None:
    """The newest local snapshot of a repository, complete or not."""
    try:
        return Path(snapshot_download(name, **{**_hub(options), "local_files_only": True}))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def _hub(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: options[name] for name in HUB_OPTIONS if name in options}


def _download_component(
    name: str, inside: str, access: FileAccess, options: Mapping[str, Any]
) -> Path:
    start = f"{inside}/" if inside else ""
    patterns = [f"{start}*{ending}" for ending in READ_BY_LOADERS if ending not in PICKLES]
    return _download(name, patterns, access, options)


def _download(
    name: str, patterns: list[str], access: FileAccess, options: Mapping[str, Any]
) -> Path:
    try:
        return Path(snapshot_download(name, allow_patterns=patterns, **_hub(options)))
    except (OSError, ValueError) as error:
        raise not_found(name, options, error, access.folder) from error


def _file_in(folder: Path, name: str, file_name: str | None) -> Path:
    """A file of weights in a folder, which messages call `name`."""
    files = sorted(p.name for p in folder.iterdir() if p.suffix == ".safetensors")
    if file_name is not None:
        path = folder / _inside(file_name)
        if not (path.is_file() or path.is_symlink()):
            raise RunFailed(f"{name!r} has no file {file_name!r}{did_you_mean(file_name, files)}")
        return path
    if len(files) == 1:
        return folder / files[0]
    if _has_index(folder, MODULAR_INDEXES):
        raise RunFailed(
            f"{name!r} is the folder of a whole pipeline, not a file of weights",
            hints=[f'"model_name": "{name}"   in from_pretrained_arguments loads a pipeline'],
        )
    there = ", ".join(files[:5]) + ", ..." * (len(files) > 5)
    found = f"{len(files)} safetensors files ({there})" if files else "no safetensors file"
    raise RunFailed(f"{name!r} has {found}; name one with weight_name")


def _download_file(
    repository: str, inside: str | None, access: FileAccess, options: Mapping[str, Any]
) -> Path:
    hub = _hub(options)
    try:
        inside = inside or _only_weights(repository, hub)
        try:
            return Path(hf_hub_download(repository, inside, **{**hub, "local_files_only": True}))
        except LocalEntryNotFoundError:
            return Path(hf_hub_download(repository, inside, **hub))
    except (OSError, ValueError) as error:
        raise not_found(repository, options, error, access.folder, inside) from error


def _only_weights(repository: str, hub: Mapping[str, Any]) -> str:
    snapshot = _snapshot(repository, hub)
    if snapshot is not None and any(n.endswith(".safetensors") for n in os.listdir(snapshot)):
        return _file_in(snapshot, repository, None).name
    return (
        "pytorch_lora_weights.safetensors"  # the name that diffusers gives to a LoRA that it saves
    )

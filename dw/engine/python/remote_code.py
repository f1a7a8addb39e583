"""Code that comes with a workflow or a model. It is run only for a user who trusts it."""

from __future__ import annotations

import hashlib
import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from diffusers import DiffusionPipeline
from diffusers.utils.constants import HF_MODULES_CACHE
from diffusers.utils.dynamic_modules_utils import get_cached_module_file

from dw.engine.files.access import FileAccess
from dw.errors import RunFailed, TrustWorkflow, WorkflowError
from dw.workflow.json_path import is_path
from dw.workflow.paths import resolve

PIPELINE_FILE = "pipeline.py"


def custom_pipeline(name: str, *, access: FileAccess, revision: str | None = None) -> Any:
    """The pipeline class in a folder or a file, in a repository of the hub, or among the
    community's pipelines, which have names without a slash.

    Raises WorkflowError without the user's trust, and RunFailed when there is none.
    """
    require_trust(f"'custom_pipeline': {name!r}", trust=access.permissions.trust)
    place = resolve(name, access.folder)
    if place.exists():
        return _pipeline_class(load_file(place / PIPELINE_FILE if place.is_dir() else place), name)
    if is_path(name) or name.endswith(".py"):
        raise RunFailed(f"there is no custom pipeline {name!r}: no such file or folder")
    try:
        # Put among the hub's modules, with the files that it imports.
        inside = get_cached_module_file(
            name, PIPELINE_FILE, revision=revision, trust_remote_code=True
        )
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise RunFailed(f"there is no custom pipeline {name!r}: {reason}") from error
    return _pipeline_class(load_file(Path(HF_MODULES_CACHE, inside)), name)


def class_in(file: Path, name: str) -> Any:
    """A class that a model's own code defines."""
    try:
        return getattr(load_file(file), name)
    except AttributeError:
        raise RunFailed(f"there is no class {name!r} in {file.name!r}") from None


def require_trust(what: str, *, trust: bool) -> None:
    if not trust:
        raise WorkflowError(
            f"{what} is code that would be run",
            hints=[TrustWorkflow("you have read it and trust it")],
        )


def load_file(file: Path) -> ModuleType:
    """The module in a file, which may import the files beside it.

    It is imported once for each content: an edited file is another module, and two files of one
    name are not mixed up. Raises RunFailed when there is no such file.
    """
    if not file.is_file():
        raise RunFailed(f"there is no file {str(file)!r}")
    package = f"dw_own_code_{_digest(file.parent)}"
    if package not in sys.modules:
        sys.modules[package] = beside = ModuleType(package)
        beside.__path__ = [str(file.parent)]
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # it knows whole seconds only
    try:
        importlib.invalidate_caches()
        return importlib.import_module(f"{package}.{file.stem}")
    finally:
        sys.dont_write_bytecode = before


def _digest(folder: Path) -> str:
    digest = hashlib.sha256(str(folder.resolve()).encode())
    for file in sorted(folder.glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def _pipeline_class(module: ModuleType, name: str) -> Any:
    """The only pipeline that the module itself defines."""
    found = [
        each
        for each in vars(module).values()
        if isinstance(each, type)
        and issubclass(each, DiffusionPipeline)
        and each.__module__ == module.__name__
    ]
    if len(found) != 1:
        classes = ", ".join(each.__name__ for each in found) or "none"
        raise RunFailed(f"the custom pipeline {name!r} must define one pipeline, not {classes}")
    return found[0]

"""Remote code: Python files of a workflow or a model, run only with the user's trust."""

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

from dw.errors import RunFailed, TrustWorkflow, WorkflowError, told
from dw.workflow.json_path import is_path
from dw.workflow.paths import resolve

PIPELINE_FILE = "pipeline.py"


def custom_pipeline(name: str, folder: Path, *, trust: bool, revision: str | None = None) -> Any:
    """The pipeline class in a folder or a file (`name` is relative to `folder`), in a repository of
    the hub, or among the community's pipelines, whose names have no slash.

    Raises WorkflowError without `trust`, and RunFailed when it is not found.
    """
    require_trust(f"'custom_pipeline': {name!r}", trust=trust)
    place = resolve(name, folder)
    if place.exists():
        return _pipeline_class(load_file(place / PIPELINE_FILE if place.is_dir() else place), name)
    if is_path(name) or name.endswith(".py"):
        raise RunFailed(f"custom pipeline {name!r} not found: no such file or folder")
    try:
        # It and the files that it imports are copied into the folder of the hub's modules.
        inside = get_cached_module_file(
            name, PIPELINE_FILE, revision=revision, trust_remote_code=True
        )
    except (OSError, ValueError) as error:
        raise RunFailed(f"custom pipeline {name!r} not found: {told(error)}") from error
    return _pipeline_class(load_file(Path(HF_MODULES_CACHE, inside)), name)


def class_in(file: Path, name: str) -> Any:
    """A class in a file of a model. Raises RunFailed when it does not define the class."""
    try:
        return getattr(load_file(file), name)
    except AttributeError:
        raise RunFailed(f"{file.name!r} does not define the class {name!r}") from None


def require_trust(what: str, *, trust: bool) -> None:
    if not trust:
        raise WorkflowError(
            f"{what} is code that would be run",
            hints=[TrustWorkflow("you have read it and trust it")],
        )


def load_file(file: Path) -> ModuleType:
    """The module in a file, which may import the files in its folder.

    Each content of the folder is a package of its own, so that an edited file is imported again and
    two files of one name do not collide. Raises RunFailed when the file does not exist.
    """
    if not file.is_file():
        raise RunFailed(f"no such file: {str(file)!r}")
    folder = file.parent
    digest = hashlib.sha256(str(folder.resolve()).encode())
    for each in sorted(folder.glob("*.py")):
        digest.update(each.name.encode() + b"\0" + each.read_bytes())
    package = f"dw_own_code_{digest.hexdigest()[:16]}"
    if package not in sys.modules:
        sys.modules[package] = beside = ModuleType(package)
        beside.__path__ = [str(folder)]
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # a .pyc knows whole seconds
    try:
        importlib.invalidate_caches()
        return importlib.import_module(f"{package}.{file.stem}")
    finally:
        sys.dont_write_bytecode = before


def _pipeline_class(module: ModuleType, name: str) -> Any:
    """The pipeline class that the module defines. Raises RunFailed unless it defines one."""
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

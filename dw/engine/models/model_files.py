"""Model files: links in a model's folder, and settings in its configs that lead to code or to other
files. A model may come from a stranger, as its workflow does."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import Any

from dw.engine.files.access import FileAccess
from dw.errors import RunFailed, TrustWorkflow
from dw.types import FileState
from dw.workflow.checks.options import option_error
from dw.workflow.json_path import spell_value, walk

DEEPEST = 2  # folders: that of the pipeline, of a component, and of its chat templates
_SUFFIXES = ("config.json", ".index.json", "model_index.json")
_LINKED_MODELS = ("adapter_config.json",)
"""Files that make transformers load another model, which they name."""

_SETTINGS = (
    *("_attn_implementation", "_attn_implementation_internal", "_experts_implementation"),
    *("attn_implementation", "experts_implementation"),
)
_FILES = ("class_info_file", "fast_tokenizer_files", "repo_path")
_OTHERS = ("audio_tokenizer_name_or_path", "model_file")


class ModelFiles:
    """Judges the folders of models. What was judged once is not read again until it changes."""

    def __init__(self) -> None:
        self._judged: set[FileState] = set()

    def require_harmless(
        self, folder: Path, name: str, access: FileAccess, *, is_own: bool
    ) -> None:
        """Raises RunFailed for a model, which the workflow calls `name`, that an untrusted workflow
        may not load. `is_own`: the folder is in the user's own cache of the hub, whose links are
        the hub's."""
        for file in _files(folder):
            if file.is_symlink() and file.exists() and not is_own:  # else its reader tells
                access.require(file, name)
            if file.name in _LINKED_MODELS:
                raise _refused(name, file, "makes the loader load another model")
            if file.name.endswith(_SUFFIXES) and (state := FileState.of(file)) not in self._judged:
                for error in _errors(file):
                    raise _refused(name, file, error)
                self._judged.add(state)


def _files(folder: Path, depth: int = 0) -> Iterator[Path]:
    """The files and folders in a model's folder, as deep as loaders look."""
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        yield Path(entry.path)
        if depth < DEEPEST and entry.is_dir():
            yield from _files(Path(entry.path), depth + 1)


def _errors(file: Path) -> Iterator[str]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return  # its loader reports it
    for path, value in walk(content):
        key = next((part for part in reversed(path) if isinstance(part, str)), "")
        if judge := _JUDGES.get(key):
            yield from judge(key, value)
    weights = content.get("weight_map") if isinstance(content, dict) else None
    for shard in weights.values() if isinstance(weights, dict) else ():
        if not isinstance(shard, str) or PurePath(shard).name != shard:
            yield f"names {spell_value(shard)}, which is not a file beside it"


def _setting(key: str, value: Any) -> Iterator[str]:
    if error := option_error(key.removesuffix("_internal"), value):
        yield f"says {error.partition(';')[0]}"


def _inside(key: str, value: Any) -> Iterator[str]:
    if isinstance(value, str) and option_error("filename", value):
        yield f"names {spell_value(value)} as {key!r}, which is outside of it"


def _other(key: str, value: Any) -> Iterator[str]:
    if value is not None:
        yield f"names {spell_value(value)} as {key!r}, which would be loaded as well"


_JUDGES: dict[str, Callable[[str, Any], Iterator[str]]] = {
    **dict.fromkeys(_SETTINGS, _setting),
    **dict.fromkeys(_FILES, _inside),
    **dict.fromkeys(_OTHERS, _other),
}


def _refused(name: str, file: Path, error: str) -> RunFailed:
    return RunFailed(
        f"the model {name!r} may not be loaded: its {file.name!r} {error}",
        hints=[TrustWorkflow("you trust the model")],
    )

"""Downloads ahead: the models of a workflow that are not in the cache, and their sizes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from diffusers.pipelines.pipeline_loading_utils import variant_compatible_siblings
from httpx2 import HTTPError
from huggingface_hub import HfApi, constants

from dw.engine.memory.out_of_memory import size_in_words
from dw.engine.models.source import Sources
from dw.engine.models.weights_file import PICKLES
from dw.errors import RunFailed
from dw.workflow import Diagnostic, Document
from dw.workflow.hub_address import HubFile, hub_file
from dw.workflow.json_path import JsonPath
from dw.workflow.paths import is_local, models_in, resolve

PATIENCE_S = 2.0  # for all answers of the hub together: a validation must not wait for them


@dataclass(frozen=True)
class Missing:
    """A model of the hub that is not in its cache, and where the workflow names it."""

    path: JsonPath
    file: HubFile
    variant: str | None
    lack: str  # what of it is missing


def check_downloads(document: Document, sources: Sources) -> tuple[Diagnostic, ...]:
    """A note for each model that is not in the cache, also in sub-workflows; with its size when the
    hub answers within `PATIENCE_S`."""
    missing = tuple(_missing(document, sources))
    sizes = _sizes({each.file.repository: each for each in missing})
    found: list[Diagnostic] = []
    for each in missing:
        message = each.lack
        if size := sizes.get(each.file.repository):
            message += f"; about {size_in_words(size)} will be downloaded"
        if constants.HF_HUB_OFFLINE:
            message += "; HF_HUB_OFFLINE allows no download"
        found.append(document.diagnostic_at(each.path, message, "note"))
    for child in document.children.values():
        found += check_downloads(child, sources)
    return tuple(found)


def _missing(document: Document, sources: Sources) -> Iterator[Missing]:
    data = document.filled()
    for path, name in models_in(data):
        if ":" in name.partition("/")[0] or resolve(name, document.path.parent).exists():
            continue
        if is_local(name):
            continue  # which another check reports
        try:
            file = hub_file(name)
        except RunFailed:
            continue  # a URL of another host, which another check reports
        options: Any = data  # the object that names the model, with the options of its loader
        for key in path[:-1]:
            options = options[key]
        options = options if file.revision is None else {**options, "revision": file.revision}
        lack = sources.lack(file.repository, options.get("subfolder"), file.path, options)
        if lack is not None:
            yield Missing(path, file, options.get("variant"), lack)


def _sizes(wanted: Mapping[str, Missing]) -> dict[str, int]:
    """Bytes by repository, for those that the hub answers in time."""
    if constants.HF_HUB_OFFLINE:
        return {}
    answers: SimpleQueue[tuple[str, int]] = SimpleQueue()
    for missing in wanted.values():  # in daemon threads: a name look-up has no timeout
        threading.Thread(target=_ask, args=(missing, answers), daemon=True).start()
    found: dict[str, int] = {}
    until = time.monotonic() + PATIENCE_S
    with suppress(Empty):
        for _ in wanted:
            name, size = answers.get(timeout=max(0.0, until - time.monotonic()))
            found[name] = size
    return found


def _ask(missing: Missing, answers: SimpleQueue[tuple[str, int]]) -> None:
    """Put the size of a repository into `answers`: 0 where the hub does not tell it."""
    name, size = missing.file.repository, 0
    # Refused, not found, not reached, or not the answer of a hub.
    with suppress(HTTPError, OSError, ValueError, KeyError, TypeError):
        hub = HfApi().model_info(name, files_metadata=True, timeout=PATIENCE_S)
        files = {each.rfilename: each.size or 0 for each in hub.siblings or ()}
        size = sum(files[file] for file in _loaded(files, missing))
    answers.put((name, size))


def _loaded(files: Mapping[str, int], missing: Missing) -> set[str]:
    """The weights that a loader would fetch."""
    if missing.file.path is not None:
        return files.keys() & {missing.file.path}
    weights, _ = variant_compatible_siblings(files, variant=missing.variant)
    safe = {name for name in weights if name.endswith(".safetensors")}
    return safe or {name for name in files if name.endswith((*PICKLES, ".safetensors"))}

"""Not found: why a name leads to no model, and what helps."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import repo_folder_name

from dw.errors import CheckModelName, LoginToHub, Rehearse, RunFailed, causes, did_you_mean, told
from dw.workflow.paths import resolve

MISSING = (CheckModelName(), Rehearse())


class NotCached(RunFailed):
    """A model that is not on this machine, or not all of it."""


def not_found(
    name: str, options: Mapping[str, Any], error: Exception, folder: Path, file: str | None = None
) -> NotCached:
    """The error for a model, or a `file` of it, that is not in the hub's cache and could not be
    downloaded. Names on this machine start at `folder`."""
    if any(isinstance(each, GatedRepoError) for each in causes(error)):
        page = f"https://huggingface.co/{name}"
        return NotCached(
            f"the model {name!r} is gated on the hub",
            hints=[f"ask for access at {page}", LoginToHub()],
        )
    revision = options.get("revision") or "main"
    known = cached_revisions(name, options.get("cache_dir"))
    place = f"the model {name!r}: no local folder of that name{_beside(name, folder)}, "
    place += "not in the Hub cache"
    if known and revision not in known:
        place = f"revision {revision!r} of {name!r}, which is not in the Hub cache; these are: "
        place += ", ".join(known)
    elif known:
        place = (
            f"{file or 'all files'!r} of the model {name!r}, of which a part is in the hub's cache"
        )
    return NotCached(f"cannot get {place}; {_refusal(error, options)}", hints=MISSING)


def not_whole(
    name: str,
    snapshot: Path,
    gaps: Iterable[str],
    options: Mapping[str, Any],
    error: Exception | None = None,
) -> NotCached:
    """The error for a model that is only partly in the hub's cache. `gaps`: what it lacks; `error`:
    why the rest could not be downloaded, if that is known."""
    message = f"the model {name!r} is only partly in the hub's cache, without "
    message += ", ".join(_gone(snapshot) or gaps)
    if error is not None or constants.HF_HUB_OFFLINE or options.get("local_files_only"):
        message += f"; {_refusal(error, options)}"
    return NotCached(message, hints=MISSING)


def lack(
    name: str, snapshot: Path | None, gaps: Iterable[str], options: Mapping[str, Any]
) -> str | None:
    """What a note says of a model that a run would download; None where it lacks nothing."""
    revision = options.get("revision") or "main"
    if snapshot is not None:
        without = ", ".join(_gone(snapshot) or gaps)
        return f"{name!r} is only partly in the local cache, without {without}" if gaps else None
    known = cached_revisions(name, options.get("cache_dir"))
    if known and revision not in known:
        place = f"not in the local cache, which has {', '.join(known)}"
        return f"revision {revision!r} of {name!r} is {place}"
    return f"{name!r} is not in the local cache"


def _gone(snapshot: Path) -> list[str]:
    """The files of a snapshot whose blobs are missing."""
    links = (path for path in snapshot.rglob("*") if path.is_symlink() and not path.exists())
    return [f"{link.relative_to(snapshot)} (blob {link.readlink().name})" for link in sorted(links)]


def cached_revisions(name: str, cache_dir: str | None = None) -> list[str]:
    """The revisions of a model in the hub's cache: branches and tags, and commits without one."""
    cache = Path(cache_dir or constants.HF_HUB_CACHE)
    refs, snapshots = (
        cache / repo_folder_name(repo_id=name, repo_type="model") / kind
        for kind in ("refs", "snapshots")
    )
    commits = set(os.listdir(snapshots)) if snapshots.is_dir() else set()
    files = sorted(path for path in refs.rglob("*") if path.is_file())
    named = {path.relative_to(refs).as_posix(): path.read_text().strip() for path in files}
    there = [name for name, commit in named.items() if commit in commits]
    return [*there, *sorted(commits - set(named.values()))]


@contextmanager
def fetching_config(file: Path, config: Any) -> Iterator[None]:
    """While a model is read from one file. Raises NotCached where the workflow names no config and
    the one that diffusers takes for such a file cannot be fetched."""
    try:
        yield
    except (OSError, ValueError) as error:
        failed = (EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled)
        if config is not None or not any(isinstance(each, failed) for each in causes(error)):
            raise
        guess = " ".join(str(error).split()).rstrip(".")
        raise NotCached(
            f"{str(file)!r} comes without its config, and diffusers' choice of one could not be "
            f"fetched: {guess}; {_refusal(error, {})}",
            hints=[
                '"config": "FOLDER OR HUB ID"   beside from_single_file names a model of its kind, '
                'for a component with its "subfolder"'
            ],
        ) from error


def missing_path(name: str, folder: Path, what: str) -> RunFailed:
    """The error for a file or folder of this machine that does not exist."""
    path = resolve(name, folder)
    why = f"does not exist{_beside(name, folder)}"
    if path.is_symlink():
        why = f"is a link to {str(path.readlink())!r}, which does not exist"
    return RunFailed(
        f"{what} {name!r} {why}",
        hints=[f"relative names start at {folder} or at the current folder"],
    )


def _beside(name: str, folder: Path) -> str:
    """The end of a sentence: what there is instead in the folder where the name points to."""
    parent = resolve(str(Path(name).parent), folder)
    return did_you_mean(Path(name).name, os.listdir(parent)) if parent.is_dir() else ""


def _refusal(error: Exception | None, options: Mapping[str, Any]) -> str:
    """Why it could not be downloaded."""
    found = tuple(causes(error)) if error is not None else ()

    def is_due_to(kind: type[Exception]) -> bool:
        return any(isinstance(each, kind) for each in found)

    if constants.HF_HUB_OFFLINE or is_due_to(OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so nothing is downloaded"
    if options.get("local_files_only"):
        return "'local_files_only' is set, so nothing is downloaded"
    if is_due_to(RevisionNotFoundError):
        return "the hub has no such revision"
    if is_due_to(RepositoryNotFoundError):
        return "the hub has no such model, or it is private"
    if is_due_to(RemoteEntryNotFoundError):
        return "the hub has no such file in it"
    # The one at its bottom: diffusers wraps it in advice.
    return f"the hub request failed{': ' if found else ''}{''.join(map(told, found[-1:]))}"

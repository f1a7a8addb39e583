"""Workflows: whether they are valid, and whether their models are here, whole, and pinned."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from huggingface_hub.file_download import repo_folder_name

from dw.health.finding import Finding, State
from dw.types import Permissions
from dw.workflow import validate_file
from dw.workflow.paths import is_local, models_in, resolve

PATIENCE_S = 600.0
CHUNK = 1 << 20
_STATES: dict[str, State] = {"error": "failed", "warning": "warning", "note": "warning"}


def check_workflows(paths: Sequence[Path], *, trust: bool) -> Iterator[Finding]:
    """What `dw validate` finds in workflows and in the files of their models."""
    command = [sys.executable, "-m", "dw.validate", "--json", *(["--trust"] if trust else [])]
    done = subprocess.run(
        [*command, "--", *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    for answer in answers:
        problems = answer["problems"]
        for each in problems:
            place = f"{each['path']}:{each['line']}:{each['column']}"
            state = _STATES[each["severity"]]
            yield Finding(answer["file"], state, f"{place}: {each['message']}")
        if not problems:
            yield Finding(answer["file"], "ok", "valid, and its models are here")
    if len(answers) < len(paths):
        told = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        remedy = "dw validate shows the whole error"
        yield Finding("workflows", "failed", f"validation did not end: {told}", remedy)


@dataclass(frozen=True)
class Model:
    """What a workflow loads: the files that are here, and the revision that it names."""

    name: str
    folder: Path | None
    revision: str | None
    is_local: bool


def models_of(paths: Sequence[Path], permissions: Permissions) -> dict[str, Model]:
    """The models of workflows, by name and revision. What is wrong with a workflow is told by
    `check_workflows`."""
    found: dict[str, Model] = {}
    for path in paths:
        parent = validate_file(path, permissions=permissions).document
        for document in (parent, *parent.children.values()) if parent else ():
            data: Any = document.filled()
            for place, name in models_in(data):
                options = data
                for key in place[:-1]:
                    options = options[key]
                model = _model(name, document.path.parent, options.get("revision"))
                found[f"{name}@{model.revision}"] = model
    return found


def _model(name: str, folder: Path, revision: str | None) -> Model:
    path = resolve(name, folder)
    if path.exists() or is_local(name) or ":" in name:
        return Model(name, path if path.exists() else None, revision, is_local=True)
    repository = "/".join(name.split("/")[:2])
    cached = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model")
    try:
        commit = (cached / "refs" / (revision or "main")).read_text(encoding="ascii").strip()
    except OSError:
        commit = revision or ""
    snapshot = cached / "snapshots" / commit
    return Model(name, snapshot if commit and snapshot.is_dir() else None, revision, is_local=False)


def check_revisions(models: Sequence[Model]) -> Iterator[Finding]:
    """A warning for each model of the hub that may be another one tomorrow."""
    for model in models:
        if not model.is_local and model.revision is None:
            here = f'"revision": "{model.folder.name}"' if model.folder else '"revision": "COMMIT"'
            found = "names no revision: a newer one may be loaded tomorrow"
            yield Finding(model.name, "warning", found, here)


def check_digests(models: Sequence[Model]) -> Iterator[Finding]:
    """Read each file of the models and compare it with the digest that the hub gave for it: SHA-256
    of large files, git's SHA-1 of others. The hub's cache names files by it; a download into a
    folder writes it below `.cache/huggingface/download` of that folder."""
    for model in models:
        if model.folder is None:
            continue
        count, wrong = 0, []
        for path, digest in _recorded(model.folder):
            count += 1
            if _digest(path, digest) != digest:
                wrong.append(path)
        for path in wrong:
            found = f"{path}: other bytes than the hub has"
            yield Finding(
                model.name, "failed", found, f"remove it and download it again: {path.resolve()}"
            )
        if not count:
            yield Finding(model.name, "ok", "no digests are recorded for its files")
        elif not wrong:
            yield Finding(model.name, "ok", f"{count} files have the digests that the hub gave")


def _recorded(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files with the digests that were recorded when they were downloaded."""
    notes = folder / ".cache" / "huggingface" / "download"
    for root, _, names in os.walk(folder):
        for name in sorted(names):
            path = Path(root, name)
            blob = path.resolve()
            if path.is_symlink() and blob.parent.name == "blobs":
                digest = blob.name
            else:
                note = notes / f"{path.relative_to(folder)}.metadata"
                lines = note.read_text(encoding="utf-8").splitlines() if note.is_file() else []
                digest = lines[1] if len(lines) > 1 else ""
            if len(digest) in (40, 64) and blob.is_file():
                yield path, digest


def _digest(path: Path, like: str) -> str:
    """Of the kind that `like` is."""
    if len(like) == 64:
        digest = hashlib.sha256()
    else:
        digest = hashlib.sha1(usedforsecurity=False)
        digest.update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()

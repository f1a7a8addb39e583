"""Gathering tasks: images by pattern or URL, and parts of values."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from PIL import Image

from dw.engine.files.access import FileAccess
from dw.engine.files.inputs import read_image
from dw.engine.tasks.registry import TaskContext, task
from dw.errors import RunFailed, did_you_mean
from dw.workflow.media import EXTENSIONS

T = TypeVar("T")
_WILDCARD = re.compile(r"[*?\[]")


@task()
def gather_images(
    *, context: TaskContext, glob: str | None = None, urls: Sequence[str] = ()
) -> list[Image.Image]:
    """The images that match a pattern, relative to the workflow's folder or else the current one,
    sorted by name; then those at the URLs."""
    return gather("image", read_image, context, glob, urls)


@task(takes_whole=True)
def gather_inputs(inputs: Any) -> Any:
    return inputs


@task()
def get_dict_value(dict: Mapping[str, Any], key: str) -> Any:  # noqa: A002  # the format's name
    if key not in dict:
        raise RunFailed(f"unknown key {key!r}{did_you_mean(key, dict)}; known: {', '.join(dict)}")
    return dict[key]


def gather(
    kind: Literal["image", "video"],
    read: Callable[[str, FileAccess], T],
    context: TaskContext,
    glob: str | None,
    urls: Sequence[str],
) -> list[T]:
    """What `read` makes of each match and then of each URL. Raises RunFailed when there is none."""
    places = matches(glob, context.access, EXTENSIONS[kind])
    access = context.access.extended(glob, places)
    found = []
    for place in [*places, *urls]:
        context.check()
        found.append(read(place, access))
    if not found:
        raise RunFailed(
            f"no {kind}s match {glob!r}" if glob else f"gather_{kind}s needs 'glob' or 'urls'"
        )
    return found


def matches(glob: str | None, access: FileAccess, extensions: Sequence[str]) -> list[str]:
    """Files with these extensions that match `glob` in the workflow's folder, or else in the
    current one. Raises RunFailed for a pattern in a folder that the workflow may not read."""
    if glob is None:
        return []
    for start in (access.folder, Path.cwd()):
        found = (p for p in _expand(start, glob, access) if p.suffix[1:].lower() in extensions)
        if paths := sorted(found):
            return [str(path.resolve()) for path in paths]
    return []


def _expand(start: Path, glob: str, access: FileAccess) -> list[Path]:
    """A folder behind a wildcard that the workflow may not read is passed over: it may be a
    link."""
    found, is_fixed = [start], True
    for part in Path(os.path.expanduser(glob)).parts:  # Path's own may raise
        if _WILDCARD.search(part) is None:
            found = [folder / part for folder in found]  # an absolute one replaces the start
            continue
        if is_fixed:
            access.require(found[0], glob)
        is_fixed = False
        readable = [each for each in found if each.is_dir() and access.may_read(each, glob)]
        found = [path for folder in readable for path in folder.glob(part)]
    return [path for path in found if path.exists()]

"""Gathering tasks: images by pattern or URL, and parts of values."""

from __future__ import annotations

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
    places = matches(glob, context.access.folder, EXTENSIONS[kind])
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


def matches(glob: str | None, folder: Path, extensions: Sequence[str]) -> list[str]:
    """Files with these extensions that match `glob` in `folder`, or else in the current one."""
    if glob is None:
        return []
    for start in (folder, Path.cwd()):
        found = sorted(p for p in _expand(start, glob) if p.suffix[1:].lower() in extensions)
        if found:
            return [str(path.resolve()) for path in found]
    return []


def _expand(start: Path, glob: str) -> list[Path]:
    pattern = Path(glob).expanduser()
    if pattern.is_absolute():
        return list(Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor))))
    return list(start.glob(glob))

"""Objects: instances of Python classes that a workflow builds from files, results or arguments."""

from __future__ import annotations

import dataclasses
import inspect
import io
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from dw.engine.files.access import FileAccess
from dw.engine.media.audio import Audio, as_audio
from dw.engine.media.containers import opened
from dw.engine.media.video import as_video, plain
from dw.engine.python import kinds, resolve
from dw.engine.python.annotations import evaluated_signature, type_error
from dw.errors import RunFailed, TrustWorkflow, WorkflowError, did_you_mean, told
from dw.pixels import open_image
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.construction import (
    FROM_ARGUMENTS,
    FROM_FILE,
    FROM_RESULT,
    Construction,
    construction,
)
from dw.workflow.json_path import JsonPath, walk
from dw.workflow.media import EXTENSIONS
from dw.workflow.references import result_references

KINDS = ("image", "video", "audio")
"""The artifacts that an object can hold: the values of the attribute `kind` of its class."""


def built(value: Any, access: FileAccess) -> Any:
    """`value` with the objects in it built, the inner ones first.

    An object that refers to results stays as it is. A value without objects is returned itself.
    Raises RunFailed.
    """
    if type(value) is list:
        items: list[Any] = [built(item, access) for item in value]
        return items if _differ(items, value) else value
    if type(value) is not dict:
        return value
    members = {name: built(member, access) for name, member in value.items()}
    found = construction(members)
    if found is None or not isinstance(found.cls, type) or any(result_references(members)):
        return members if _differ(members.values(), value.values()) else value
    if not (access.permissions.trust or kinds.is_object(found.cls)):
        raise RunFailed(
            f"{found.cls.__name__} is not a class of objects that a workflow may make",
            hints=[TrustWorkflow()],
        )
    if found.constructor == FROM_ARGUMENTS:
        return found.cls(**{name: plain(argument) for name, argument in found.source.items()})
    if found.constructor == FROM_FILE:
        return _from_file(found, access)
    return found.cls(**{**_held(found), **found.extra})


def check_objects(arguments: Any, path: JsonPath, *, trust: bool) -> Diagnostics:
    """A diagnostic for each object in `arguments` that its class cannot build. Builds nothing."""
    for here, value in walk(arguments, path):
        if (found := construction(value)) is None or not isinstance(found.cls, str):
            continue
        try:
            cls = resolve.object_class(found.cls, trust=trust)
        except WorkflowError as error:
            yield DataDiagnostic((*here, found.type_key), error.message)
            continue
        for inner, message in _check_object(found, cls):
            yield DataDiagnostic((*here, *inner), message)


def _check_object(found: Construction, cls: Any) -> Iterator[tuple[JsonPath, str]]:
    """Paths inside of the object, each with a message."""
    if not isinstance(cls, type):
        yield (found.type_key,), f"{found.cls!r} is not a class"
    elif found.constructor == FROM_ARGUMENTS:
        yield from _check_arguments(cls, found.source, (FROM_ARGUMENTS,))
    elif found.constructor == FROM_RESULT and getattr(cls, "kind", None) in KINDS:
        yield from _check_arguments(cls, found.extra, ())
    elif found.constructor == FROM_RESULT:
        yield (found.type_key,), no_kind(cls)
    elif (load := getattr(cls, FROM_FILE, None)) is None:
        yield (found.type_key,), f"{cls.__name__} cannot be made {FROM_FILE!r}"
    elif (known := attributes(cls)) is not None:
        names = (name for name in found.extra if name not in known and not accepts(load, name))
        yield from (((name,), no_attribute(cls, name)) for name in names)


def _check_arguments(cls: type, given: Any, path: JsonPath) -> Iterator[tuple[JsonPath, str]]:
    if not isinstance(given, dict):
        return  # a reference
    parameters = signature(cls)
    for name, value in given.items():
        if not accepts(cls, name):
            hint = did_you_mean(name, parameters) or f"; it takes {', '.join(parameters)}"
            yield (*path, name), f"{cls.__name__} takes no {name!r}{hint}"
        elif name in parameters and (kinds := type_error(parameters[name], value)):
            yield (*path, name), kinds


def accepts(function: Callable[..., Any], name: str) -> bool:
    """Whether the function takes this keyword."""
    parameters = signature(function)
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


@lru_cache(maxsize=256)
def signature(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The parameters of a function; any are accepted where they are unknown, as in C code."""
    try:
        return evaluated_signature(function).parameters
    except ValueError:
        return {"arguments": inspect.Parameter("arguments", inspect.Parameter.VAR_KEYWORD)}


def attributes(cls: type) -> list[str] | None:
    """The attributes that may be set on its objects; None when the class does not declare them."""
    return (
        [field.name for field in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else None
    )


def _differ(new: Any, old: Any) -> bool:
    return any(a is not b for a, b in zip(new, old, strict=True))


def _from_file(found: Construction, access: FileAccess) -> Any:
    """Further keys are arguments of `from_file`, or attributes where it does not accept them."""
    given = {n: v for n, v in found.extra.items() if accepts(found.cls.from_file, n)}
    with _on_disk(found.source, access) as path:
        if not access.permissions.trust:
            _require_media(found, path)
        made = found.cls.from_file(path, **given)
    for name in found.extra.keys() - given.keys():
        known = attributes(found.cls)
        if not (hasattr(made, name) if known is None else name in known):
            raise RunFailed(no_attribute(found.cls, name))
        setattr(made, name, found.extra[name])
    return made


def _require_media(found: Construction, path: str) -> None:
    """Raises RunFailed unless the file is of a format that dw reads: the class opens any."""
    kind = getattr(found.cls, "kind", None) or _kind_of(path)
    try:
        with open_image(path) if kind == "image" else opened(path):
            pass
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise RunFailed(f"cannot read the {kind} {found.source!r}: {told(error)}") from error


def _kind_of(path: str) -> str:
    extension = PurePath(path).suffix[1:].lower()
    return next((kind for kind in KINDS if extension in EXTENSIONS[kind]), "image")


def no_attribute(cls: type, name: str) -> str:
    known = attributes(cls)
    if not known:
        return f"{cls.__name__} has no {name!r}"
    hint = did_you_mean(name, known) or f"; it has {', '.join(known)}"
    return f"{cls.__name__} has no {name!r}{hint}"


@contextmanager
def _on_disk(place: str, access: FileAccess) -> Iterator[str]:
    """The path of a file, a temporary one for a URL: a class that downloaded it itself would ignore
    the limits of dw.
    """
    source = access.source(place)
    if not isinstance(source, io.BytesIO):
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="dw-") as folder:
        path = Path(folder, f"file{PurePath(urlsplit(place).path).suffix}")
        path.write_bytes(source.getvalue())
        yield str(path)


def _held(found: Construction) -> dict[str, Any]:
    """The arguments with the artifact that the `kind` of the class names."""
    kind = getattr(found.cls, "kind", None)
    if kind == "image":
        return {"image": found.source}
    if kind == "audio":
        return _waveform(as_audio(found.source))
    if kind != "video":
        raise RunFailed(no_kind(found.cls))
    video = as_video(found.source)
    return {"frames": list(video), **({} if video.audio is None else _waveform(video.audio))}


def _waveform(audio: Audio) -> dict[str, Any]:
    return {"audio": audio.tensor, "sample_rate": audio.rate}


def no_kind(cls: type) -> str:
    return (
        f"{cls.__name__} cannot be made from a result: its attribute 'kind' must be one of "
        f"{', '.join(KINDS)}"
    )

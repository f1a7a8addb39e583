"""Objects that a workflow builds from files, from results or from arguments, for pipelines that
take such objects."""

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

from dw.engine.files.access import FileAccess
from dw.engine.media.audio import Audio, as_audio
from dw.engine.media.video import as_video, plain
from dw.engine.python import resolve
from dw.engine.python.annotations import type_error
from dw.errors import RunFailed, WorkflowError, did_you_mean
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.construction import (
    FROM_ARGUMENTS,
    FROM_FILE,
    FROM_RESULT,
    Construction,
    construction,
)
from dw.workflow.json_path import JsonPath, walk
from dw.workflow.references import result_references

KINDS = ("image", "video", "audio")
"""What a class may say, as its `kind`, that its objects hold."""


def built(value: Any, access: FileAccess) -> Any:
    """`value` with the objects in it built, the inner ones first.

    What still refers to results stays as it is; so does all that holds nothing to build. Raises
    RunFailed.
    """
    if type(value) is list:
        items: list[Any] = [built(item, access) for item in value]
        return items if _differ(items, value) else value
    if type(value) is not dict:
        return value
    members = {name: built(member, access) for name, member in value.items()}
    found = construction(members)
    if found is not None and isinstance(found.cls, type) and not any(result_references(members)):
        return _built(found, access)
    return members if _differ(members.values(), value.values()) else value


def check_objects(arguments: Any, path: JsonPath, *, trust: bool) -> Diagnostics:
    """What does not fit between the objects in `arguments` and their classes. Builds nothing."""
    for here, value in walk(arguments, path):
        if (found := construction(value)) is None or not isinstance(found.cls, str):
            continue
        try:
            cls = resolve.python_class(found.cls, trust=trust)
        except WorkflowError as error:
            yield DataDiagnostic((*here, found.type_key), error.message)
            continue
        for inner, message in _misfits(found, cls):
            yield DataDiagnostic((*here, *inner), message)


def _misfits(found: Construction, cls: Any) -> Iterator[tuple[JsonPath, str]]:
    """The place inside of the object, and a message."""
    if not isinstance(cls, type):
        yield (found.type_key,), f"{found.cls!r} is not a class"
    elif found.constructor == FROM_ARGUMENTS:
        yield from _misfitting(cls, found.source, (FROM_ARGUMENTS,))
    elif found.constructor == FROM_RESULT and getattr(cls, "kind", None) in KINDS:
        yield from _misfitting(cls, found.extra, ())
    elif found.constructor == FROM_RESULT:
        yield (found.type_key,), no_kind(cls)
    elif (load := getattr(cls, FROM_FILE, None)) is None:
        yield (found.type_key,), f"{cls.__name__} cannot be made {FROM_FILE!r}"
    elif (known := attributes(cls)) is not None:
        names = (name for name in found.extra if name not in known and not accepts(load, name))
        yield from (((name,), no_attribute(cls, name)) for name in names)


def _misfitting(cls: type, given: Any, path: JsonPath) -> Iterator[tuple[JsonPath, str]]:
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
    """Its parameters; any are taken where it does not tell them, as classes written in C do."""
    try:
        return inspect.signature(function, eval_str=True).parameters
    except NameError:
        return inspect.signature(function).parameters
    except ValueError:
        return {"arguments": inspect.Parameter("arguments", inspect.Parameter.VAR_KEYWORD)}


def attributes(cls: type) -> list[str] | None:
    """The names that may be set on its objects; None when they are not declared."""
    return (
        [field.name for field in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else None
    )


def _differ(new: Any, old: Any) -> bool:
    return any(a is not b for a, b in zip(new, old, strict=True))


def _built(found: Construction, access: FileAccess) -> Any:
    if found.constructor == FROM_ARGUMENTS:
        return found.cls(**{name: plain(value) for name, value in found.source.items()})
    if found.constructor == FROM_FILE:
        return _from_file(found, access)
    return found.cls(**{**_held(found), **found.extra})


def _from_file(found: Construction, access: FileAccess) -> Any:
    """Further keys go to `from_file`, or onto the object when that does not take them."""
    given = {n: v for n, v in found.extra.items() if accepts(found.cls.from_file, n)}
    with _on_disk(found.source, access) as path:
        made = found.cls.from_file(path, **given)
    for name in found.extra.keys() - given.keys():
        known = attributes(found.cls)
        if not (hasattr(made, name) if known is None else name in known):
            raise RunFailed(no_attribute(found.cls, name))
        setattr(made, name, found.extra[name])
    return made


def no_attribute(cls: type, name: str) -> str:
    known = attributes(cls)
    if not known:
        return f"{cls.__name__} has no {name!r}"
    hint = did_you_mean(name, known) or f"; it has {', '.join(known)}"
    return f"{cls.__name__} has no {name!r}{hint}"


@contextmanager
def _on_disk(place: str, access: FileAccess) -> Iterator[str]:
    """The path of a file, for the time being if it comes from a URL: classes that load URLs
    themselves would do it without the limits that dw keeps."""
    source = access.source(place)
    if not isinstance(source, io.BytesIO):
        yield source
        return
    with tempfile.TemporaryDirectory(prefix="dw-") as folder:
        path = Path(folder, f"file{PurePath(urlsplit(place).path).suffix}")
        path.write_bytes(source.getvalue())
        yield str(path)


def _held(found: Construction) -> dict[str, Any]:
    """The arguments that hold an artifact, by what the class says that it holds."""
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
        f"{cls.__name__} cannot be made of a result: it does not tell, by a 'kind' that is one of "
        f"{', '.join(KINDS)}, what it holds"
    )

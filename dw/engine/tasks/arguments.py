"""Types of task arguments, and the check of values against them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from dw.workflow.checks.shape import describe_error
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.construction import construction, is_type_key
from dw.workflow.json_path import JsonPath, spell_path, walk
from dw.workflow.media import is_media_reference, media_kind
from dw.workflow.references import is_reference

LONGEST_SIDE = 16384  # pixels: four times what models draw; one zero too many is above it

Side = Annotated[int, Field(ge=1, le=LONGEST_SIDE)]
Byte = Annotated[int, Field(ge=0, le=255)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]


def check_argument(name: str, annotation: Any, value: Any, *, are_read: bool) -> Diagnostics:
    """The first part of the value of argument `name` that is not of the annotation's type.

    `are_read`: media are values, not only named. References are not checked.
    """
    if any(isinstance(part, str) and is_reference(part) for _, part in walk(value)):
        return  # its value is of another type
    if not are_read and _is_read_later(name, value):
        return
    try:
        _adapter(annotation).validate_python(value, strict=True)
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
        if detail["loc"][-1:] == ("[key]",):
            key = (name, str(detail["input"]))
            yield DataDiagnostic(key, detail["msg"], at_key=True)
            return
        path: JsonPath = (name, *(part for part in detail["loc"] if isinstance(part, int)))
        yield DataDiagnostic(path, f"{spell_path(path)} {describe_error(detail)}")


def _is_read_later(name: str, value: Any) -> bool:
    """Whether a value only names something of another type: an image, a class, an object. Null may
    stand for an argument that is not given yet."""
    if value is None or is_media_reference(value) or construction(value) is not None:
        return True
    return isinstance(value, str | Mapping | list) and bool(media_kind(name) or is_type_key(name))


@cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))

"""Section: the base of the models of the format; each is one object of a workflow file."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from dw.workflow.diagnostics import Diagnostics


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


class Section(BaseModel):
    """One object of the file. `dw.workflow.checks.keys` checks for unknown keys, not pydantic."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", protected_namespaces=())

    closed: ClassVar[bool] = False  # it takes no notes of users either
    elsewhere: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Keys that people look for here, with what there is instead."""

    accepted: ClassVar[frozenset[str]] = frozenset()  # keys that are not fields
    gathered: ClassVar[frozenset[str]] = (
        frozenset()
    )  # fields that are not keys: `nested` fills them

    @classmethod
    def conflicts(cls, data: Mapping[str, Any], /) -> Diagnostics:
        """Conflicts between the keys of one object; paths begin at that object."""
        del data
        yield from ()

    @classmethod
    def schema_extra(cls, further: dict[str, Any], /) -> dict[str, Any]:
        """The JSON Schema of the keys that `nested` finds; `further` is the schema of the values of
        a gathered field."""
        del further
        return {}

    @classmethod
    def nested(cls, data: Mapping[str, Any], /) -> dict[str, type[Section]]:
        """Keys of `data` that hold further sections without being fields of the model."""
        del data
        return {}

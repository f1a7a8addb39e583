"""Inputs: what the values of a variable must be, beyond its type, in the words of JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeGuard

from pydantic import Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError, SchemaError, SchemaValidator
from pydantic_core.core_schema import str_schema

from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.section import Section

InputType = Literal["string", "integer", "number", "boolean", "array", "object"]


class Input(Section):
    """A limit on the values of one variable."""

    closed = True

    title: str | None = Field(None, description="its name in forms and messages")
    description: str | None = Field(None, description="what it is for")
    type: InputType | None = Field(
        None, description="for a variable whose default is null; else the default has the type"
    )
    minLength: int | None = Field(None, ge=0, description="characters of a text, at least")  # noqa: N815
    maxLength: int | None = Field(None, ge=0, description="characters of a text, at most")  # noqa: N815
    pattern: str | None = Field(None, description="regular expression that a text must match")
    minimum: int | float | None = Field(None, description="the smallest number")
    maximum: int | float | None = Field(None, description="the largest number")
    enum: list[Any] | None = Field(None, min_length=1, description="the only values")
    examples: list[Any] | None = Field(None, description="values that make sense")

    @classmethod
    def conflicts(cls, data: Mapping[str, Any], /) -> Diagnostics:
        for least, most in (("minLength", "maxLength"), ("minimum", "maximum")):
            low, high = data.get(least), data.get(most)
            if is_number(low) and is_number(high) and low > high:
                yield DataDiagnostic((most,), f"{most!r} {high} is below {least!r} {low}")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            SchemaValidator(str_schema(pattern=pattern))
        except SchemaError as error:
            reason = " ".join(str(error).split()).rpartition("error: ")[2]
            message = "is not a regular expression ({reason})"
            raise PydanticCustomError("pattern", message, {"reason": reason}) from None
        return pattern

    def __str__(self) -> str:
        """What is allowed, for people; empty when the type alone limits the value."""
        limits = (
            f"one of {', '.join(map(str, self.enum))}" if self.enum else "",
            _range(self.minimum, self.maximum),
            _range(self.minLength, self.maxLength, " characters"),
            f"matches {self.pattern}" if self.pattern else "",
        )
        return "; ".join(filter(None, limits))


def _range(least: float | None, most: float | None, unit: str = "") -> str:
    if least is not None and most is not None:
        return f"{least:g} to {most:g}{unit}"
    if least is not None:
        return f"at least {least:g}{unit}"
    return "" if most is None else f"at most {most:g}{unit}"


def matches(pattern: str, text: str) -> bool:
    """Whether a part of the text matches, as in JSON Schema. In linear time, by Rust's engine: the
    expression comes with a workflow, and Python's may take for ever over a hostile one."""
    try:
        SchemaValidator(str_schema(pattern=pattern)).validate_python(text)
    except ValidationError:
        return False
    return True


def is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)

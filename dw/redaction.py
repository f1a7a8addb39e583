"""Redaction: values of the environment in a command of the user, kept out of what is written.

The values go to the worker with the run, and the records, logs, messages and images have the name
of the variable in their place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

Secrets = Mapping[str, str]
"""Each value, and what stands in its place, such as `${env.TOKEN}`."""

TOKEN = "(a token)"
SHORTEST = 4  # characters; a shorter value is replaced only where it is the whole text
_LONGEST_WHOLE = 40  # characters of a value that messages may cut


def redacted(value: Any, secrets: Secrets) -> Any:
    """A copy with the secrets in its texts replaced, at any depth."""
    if not secrets:
        return value
    if isinstance(value, str):
        return redacted_text(value, secrets)
    if isinstance(value, Mapping):
        return {redacted(k, secrets): redacted(v, secrets) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(redacted(each, secrets) for each in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{f.name: redacted(getattr(value, f.name), secrets) for f in fields(value)}
        )
    return value


def redacted_arguments(value: Any, secrets: Secrets) -> Any:
    """Like `redacted`, for what the user gave: there a number may be a secret as well."""
    if isinstance(value, Mapping):
        return {name: redacted_arguments(each, secrets) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(redacted_arguments(each, secrets) for each in value)
    if isinstance(value, int | float) and (name := _name_of(value, secrets)) is not None:
        return name
    return redacted(value, secrets)


def redacted_text(text: str, secrets: Secrets) -> str:
    if text in secrets:
        return secrets[text]
    for pattern, name in sorted(_patterns(secrets), key=lambda each: -len(each[0])):
        text = re.sub(pattern, lambda _, name=name: name, text)  # type: ignore[misc]
    return text


def tokens_in(data: Any) -> dict[str, str]:
    """The tokens that a workflow hands to a loader."""
    if isinstance(data, Mapping):
        own = data.get("token")
        found = {own: TOKEN} if isinstance(own, str) and own else {}
        return found | {v: n for each in data.values() for v, n in tokens_in(each).items()}
    if isinstance(data, list):
        return {value: name for each in data for value, name in tokens_in(each).items()}
    return {}


def _name_of(number: float, secrets: Secrets) -> str | None:
    if isinstance(number, bool):
        texts: tuple[str, ...] = (str(number).lower(), str(int(number)))
    else:
        texts = (str(number), json.dumps(number), f"{number:g}")
    return next((secrets[text] for text in texts if text in secrets), None)


def _patterns(secrets: Secrets) -> Iterator[tuple[str, str]]:
    """Patterns of the forms in which texts hold a secret: itself, its lines, escaped in quotes, and
    cut by a message with an ellipsis."""
    for value, name in secrets.items():
        lines = value.splitlines() if "\n" in value else []
        for part in dict.fromkeys((value, *lines)):
            forms = (part, repr(part)[1:-1], json.dumps(part)[1:-1])
            for form in dict.fromkeys(forms) if len(part.strip()) >= SHORTEST else ():
                yield re.escape(form), name
                if len(form) > _LONGEST_WHOLE:
                    yield f"{re.escape(form[:_LONGEST_WHOLE])}[^…]{{0,60}}…", name

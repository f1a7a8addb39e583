"""What we are connected to, and what may be done with it: decided once, from the environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Literal

ColorChoice = Literal["auto", "always", "never"]


@dataclass(frozen=True, slots=True)
class Terminal:
    """`is_simple`: nothing may move on it, as it cannot (TERM=dumb) or should not (ACCESSIBLE)."""

    has_input: bool
    has_output: bool
    is_simple: bool
    environment: Mapping[str, str]

    @classmethod
    def here(cls, environment: Mapping[str, str] = os.environ) -> Terminal:
        return cls(
            has_input=_is_terminal(sys.stdin),
            has_output=_is_terminal(sys.stdout),
            is_simple=environment.get("TERM") == "dumb" or bool(environment.get("ACCESSIBLE")),
            environment=environment,
        )

    @property
    def is_interactive(self) -> bool:
        return self.has_input and self.has_output

    def color(self, choice: ColorChoice, *, for_people: bool) -> bool:
        """Whether to colour: as asked, else by NO_COLOR and FORCE_COLOR, else for people only."""
        if choice != "auto":
            return choice == "always"
        if self.environment.get("NO_COLOR"):
            return False
        if self.environment.get("FORCE_COLOR"):
            return True
        return for_people and self.environment.get("TERM") != "dumb"


def _is_terminal(stream: IO[str] | None) -> bool:
    return stream is not None and stream.isatty()

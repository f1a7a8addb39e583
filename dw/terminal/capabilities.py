"""The terminal's capabilities: decided once, from the standard streams and the environment."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Literal

from dw.terminal.renderer import OutputClosed

ANSWER_POLL_S = 0.1

ColorChoice = Literal["auto", "always", "never"]


@dataclass(frozen=True, slots=True)
class Terminal:
    """`is_simple`: no progress bar, because the terminal cannot draw one (TERM=dumb) or the user
    asked for none (ACCESSIBLE)."""

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
        """Whether to colour: by the choice, else by NO_COLOR and FORCE_COLOR, else for people."""
        if choice != "auto":
            return choice == "always"
        if self.environment.get("NO_COLOR"):
            return False
        if self.environment.get("FORCE_COLOR"):
            return True
        return for_people and self.environment.get("TERM") != "dumb"


def ask(question: str, decided: Callable[[], bool | None]) -> bool:
    """The user's yes or no. `decided` is polled meanwhile and may answer first. Raises OutputClosed
    when the terminal is gone."""
    try:
        return _ask(question, decided)
    except OSError:
        raise OutputClosed from None


def _ask(question: str, decided: Callable[[], bool | None]) -> bool:
    sys.stdout.write(question)
    sys.stdout.flush()
    while (answer := decided()) is None:
        # On Windows the read itself blocks: select takes sockets only.
        if sys.platform == "win32" or select.select([sys.stdin], [], [], ANSWER_POLL_S)[0]:
            return sys.stdin.readline().strip().lower() in {"y", "yes"}
    sys.stdout.write("\n")
    sys.stdout.flush()
    return answer


def _is_terminal(stream: IO[str] | None) -> bool:
    return stream is not None and stream.isatty()

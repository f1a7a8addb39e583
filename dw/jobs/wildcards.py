"""Wildcards in texts: `{red|blue} fox` and `__animal__`, a line of the file `animal.txt`.

Which one is drawn follows from the run's seed and the argument's name alone.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dw.errors import SetWildcards, UsageError, did_you_mean
from dw.settings import Settings
from dw.text_files import NotUtf8, read_text

SUFFIX = ".txt"
MOST = 1000
"""Draws for one text: more are files that name each other."""

_WILDCARD = re.compile(r"\{([^{}]*\|[^{}]*)\}|__([A-Za-z0-9](?:[\w/-]*?[A-Za-z0-9])?)__")


@dataclass(frozen=True, slots=True)
class Wildcards:
    """`folder` holds the files."""

    folder: Path

    def draw(self, texts: Mapping[str, str], seed: int) -> dict[str, str]:
        """Those of the texts, by argument, that have wildcards, with what was drawn for each.

        Raises UsageError for a file that is missing, unreadable or empty.
        """
        return {
            name: self._drawn(text, random.Random(f"{seed} {name}"))
            for name, text in texts.items()
            if _WILDCARD.search(text)
        }

    def _drawn(self, text: str, source: random.Random) -> str:
        """The innermost come first, from the left."""
        for _ in range(MOST):
            if (found := _WILDCARD.search(text)) is None:
                return text
            choices = found[1].split("|") if found[1] is not None else self._lines(found[2])
            drawn = choices[source.randrange(len(choices))]
            text = text[: found.start()] + drawn + text[found.end() :]
        raise UsageError(f"the wildcards in a text lead to more than {MOST} others: {text[:60]!r}")

    def _lines(self, name: str) -> list[str]:
        path = self.folder / f"{name}{SUFFIX}"
        try:
            lines = content_lines(read_text(path))
        except (OSError, NotUtf8) as error:
            known = [
                each.relative_to(self.folder).with_suffix("").as_posix()
                for each in self.folder.rglob(f"*{SUFFIX}")
            ]
            why = (
                "is missing" if isinstance(error, FileNotFoundError) else f"is unreadable: {error}"
            )
            raise UsageError(
                f"the file {path} of the wildcard __{name}__ {why}{did_you_mean(name, known)}",
                hints=[SetWildcards()],
            ) from None
        if not lines:
            raise UsageError(f"the file {path} of the wildcard __{name}__ has no lines")
        return lines


def wildcards_of(settings: Settings) -> Wildcards | None:
    """None: the settings turn them off."""
    return Wildcards(Path(settings.wildcards).expanduser()) if settings.wildcards else None


def content_lines(text: str) -> list[str]:
    """The lines of a text, without blank ones and those that begin with `#`."""
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]

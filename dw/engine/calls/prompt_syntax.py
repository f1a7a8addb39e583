"""Prompt weights, as they are written for AUTOMATIC1111's web UI: `(more)`, `[less]`,
`(much more:1.5)`, and `BREAK` where a new chunk begins."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

BRACKET = 1.1
"""Round brackets multiply by it, square brackets divide by it."""

_TOKEN = re.compile(
    r"\\(?P<escaped>[\\()\[\]])|(?P<open>[(\[])|:\s*(?P<weight>[+-]?(\d+\.?\d*|\.\d+))\s*\)"
    r"|(?P<close>[)\]])|(?P<break>\s*\bBREAK\b\s*)|(?P<text>.)",
    re.DOTALL,
)
_BREAK = "\0"


@dataclass(frozen=True, slots=True)
class PromptSegment:
    """A part of a prompt between two BREAKs: plain text, and the weight of each character."""

    text: str
    weights: tuple[float, ...]

    def weight(self, start: int, end: int) -> float:
        """Of a token at these characters: the mean of all that are not spaces, 1 without any."""
        inside = zip(self.text[start:end], self.weights[start:end], strict=True)
        weights = [weight for character, weight in inside if not character.isspace()]
        return sum(weights) / len(weights) if weights else 1.0


def has_weights(prompt: str) -> bool:
    return "(" in prompt or "[" in prompt


def parse(prompt: str) -> list[PromptSegment]:
    """The segments, at least one. A bracket that is never closed counts until the end; one that
    was never opened is text, and so is `\\(`."""
    reader = _Reader()
    for token in _TOKEN.finditer(prompt.strip()):
        reader.read(token)
    return list(reader.segments())


def joined(segments: list[PromptSegment]) -> PromptSegment:
    """One segment, for encoders without chunks."""
    text = " ".join(segment.text for segment in segments)
    weights: list[float] = []
    for segment in segments:
        weights += [1.0] * bool(weights) + list(segment.weights)
    return PromptSegment(text, tuple(weights))


class _Reader:
    def __init__(self) -> None:
        self._text: list[str] = []
        self._weights: list[float] = []
        self._open: dict[str, list[int]] = {"(": [], "[": []}

    def read(self, token: re.Match[str]) -> None:
        kind, text = token.lastgroup, token[0]
        if kind == "open":
            self._open[text].append(len(self._text))
        elif kind == "weight" and self._open["("]:
            self._multiply(self._open["("].pop(), float(token["weight"]))
        elif kind == "close" and self._open["(" if text == ")" else "["]:
            self._close("(" if text == ")" else "[")
        elif kind == "break":
            self._add(_BREAK)
        else:
            self._add(token["escaped"] or text)

    def segments(self) -> Iterator[PromptSegment]:
        for bracket, starts in self._open.items():
            while starts:
                self._close(bracket)
        start = 0
        for part in "".join(self._text).split(_BREAK):
            yield PromptSegment(part, tuple(self._weights[start : start + len(part)]))
            start += len(part) + 1

    def _close(self, bracket: str) -> None:
        factor = BRACKET if bracket == "(" else 1 / BRACKET
        self._multiply(self._open[bracket].pop(), factor)

    def _multiply(self, start: int, factor: float) -> None:
        self._weights[start:] = [weight * factor for weight in self._weights[start:]]

    def _add(self, text: str) -> None:
        self._text += text
        self._weights += [1.0] * len(text)

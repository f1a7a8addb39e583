"""Seeds: the range that every run, step and argument takes, and the error for what is not in it."""

from __future__ import annotations

from typing import Any

from dw.errors import UsageError

MAX_SEED = 2**32 - 1
"""A CPU generator of torch uses the low 32 bits of a seed and drops the others, so that larger
seeds draw the images of smaller ones."""

SEEDS = f"an integer from 0 to {MAX_SEED}"


def is_seed(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_SEED


def seed_hint(value: Any) -> str:
    """What to do about a value that is no seed, as the end of a sentence.

    >>> seed_hint(2**32 + 7)
    '; 7 draws the same'
    """
    if type(value) is int and value > MAX_SEED:
        return f"; {value & MAX_SEED} draws the same"
    asks_for_any = value == "random" or (type(value) is int and value < 0)  # -1 in other programs
    return "; without a seed each run draws one" if asks_for_any else ""


def require_seed(value: Any, *, or_else: str = "") -> int:
    """The seed that a user gives for a run. Raises UsageError; `or_else` names what else is
    allowed."""
    if not is_seed(value):
        raise UsageError(f"seed must be {SEEDS}{or_else}, got {value!r}{seed_hint(value)}")
    return int(value)

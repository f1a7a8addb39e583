"""Lines: the values of one argument, a run for each."""

from __future__ import annotations


class Lines(tuple[object, ...]):
    """Several values for an argument, as read from a file by `name=@@file`."""

    __slots__ = ()

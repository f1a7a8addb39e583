"""The image protocol of a terminal, by its name.

The environment alone decides. A terminal answers a query into its input, where the user's typing
ahead is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

ImageProtocol = Literal["kitty", "iterm2", "sixel", "blocks"]

_KITTY = frozenset({"xterm-kitty", "xterm-ghostty"})
_ITERM2 = frozenset({"iTerm.app", "WezTerm", "mintty"})
_SIXEL = frozenset({"foot", "foot-extra", "mlterm", "contour"})


def image_protocol(environment: Mapping[str, str], setting: str = "auto") -> ImageProtocol | None:
    """The protocol for the terminal of this environment, or the one that the setting `images`
    names; None where no image is shown."""
    if setting != "auto":
        return None if setting == "off" else cast(ImageProtocol, setting)
    term = environment.get("TERM", "dumb")
    if term == "dumb" or environment.get("NO_COLOR") or environment.get("ACCESSIBLE"):
        return None
    if environment.get("TMUX") or term.startswith(("screen", "tmux")):
        return "blocks"  # a multiplexer may pass none of the protocols on
    program = environment.get("TERM_PROGRAM", "")
    if environment.get("KITTY_WINDOW_ID") or term in _KITTY:
        return "kitty"
    if program in _ITERM2 or environment.get("LC_TERMINAL") == "iTerm2":
        return "iterm2"
    return "sixel" if term in _SIXEL else "blocks"

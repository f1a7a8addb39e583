"""Memory share: how much of the host's memory a file may take when it is decoded."""

from __future__ import annotations

import psutil

from dw.errors import OutOfResources

PIXEL_BYTES = 4
"""Of an RGB image in Pillow's memory."""


class MemoryShare:
    """Half of what is free: the rest is for what the workflow makes of it. `title` names in
    messages what is decoded."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._whole = self._left = psutil.virtual_memory().available // 2

    def take(self, nbytes: int) -> None:
        """Raises OutOfResources when more than the share is taken."""
        self._left -= nbytes
        if self._left < 0:
            raise OutOfResources(
                f"{self._title} needs more than {self._whole / 1e9:.1f} GB of memory, half of what "
                "is free"
            )

    def take_pixels(self, width: int, height: int) -> None:
        self.take(width * height * PIXEL_BYTES)

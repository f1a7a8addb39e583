"""The origin of a file, in the form that each format holds it.

PNG has it in the text `dw` and AUTOMATIC1111's line in `parameters`; JPEG and WebP in the EXIF
maker note and the user comment; videos in the comment of the container. `dw.origins` reads all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dw.engine.media.metadata import as_json
from dw.origins import KEY


@dataclass(frozen=True, slots=True)
class FileOrigin:
    """`facts`: of the run, as JSON. `parameters`: what the programs around AUTOMATIC1111 read."""

    facts: Mapping[str, Any]
    parameters: str | None = None

    def text(self, fits: Callable[[str], bool] = bool) -> str:
        """The facts as one JSON text; where the whole does not fit, without the texts of the
        workflows, whose hash stays, and then without the arguments."""
        texts = [self._json(*left_out) for left_out in _SHORTER]
        return next((text for text in texts if fits(text)), texts[-1])

    def _json(self, *left_out: str) -> str:
        kept = {name: value for name, value in self.facts.items() if name not in left_out}
        return json.dumps({KEY: as_json(kept)})


_SHORTER: tuple[tuple[str, ...], ...] = (
    (),
    ("workflow", "sub_workflows"),
    ("workflow", "sub_workflows", "arguments", "models"),
)

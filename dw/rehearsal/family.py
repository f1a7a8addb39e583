"""Family: what defines a published model beyond its pipeline's class. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Values = Mapping[str, Any]

WIDTH = 32
"""Of the hidden states of text encoders and denoisers."""


@dataclass(frozen=True, slots=True)
class Family:
    """Pipelines that run on the components of one published model."""

    title: str
    pipeline: str  # the class in its model index
    also: tuple[str, ...] = ()  # further ones, except those with a task in their name
    words: tuple[str, ...] = ()  # distinguish model ids of this family
    is_alone: bool = False  # `pipeline` runs on no other model, whatever its name is
    wanted: tuple[str, ...] = ()  # components that are optional, but published with it
    without: tuple[str, ...] = ()  # optional components that it lacks
    classes: Mapping[str, str] = field(default_factory=dict)  # where an annotation names none
    values: Mapping[str, Values] = field(default_factory=dict)  # configuration entries by component
    scalars: Values = field(default_factory=dict)  # of the pipeline itself

    @property
    def name(self) -> str:
        """The title as the name of a folder."""
        return re.sub(r"[^a-z0-9.]+", "-", self.title.lower()).strip("-")

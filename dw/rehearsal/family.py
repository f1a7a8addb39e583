"""What a published model is, where its pipeline's class leaves it open. No torch here."""

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
    pipeline: str  # the class that its model index names
    also: tuple[str, ...] = ()  # classes that run on it, beside those with a task in their name
    words: tuple[str, ...] = ()  # tell a model id of this family from another's
    is_alone: bool = False  # `pipeline` runs on no other model, whatever its name is
    wanted: tuple[str, ...] = ()  # components that are optional, but published with it
    without: tuple[str, ...] = ()  # components that it can do without, and does
    classes: Mapping[str, str] = field(default_factory=dict)  # where the annotation leaves it open
    values: Mapping[str, Values] = field(default_factory=dict)  # by component: its configuration
    scalars: Values = field(default_factory=dict)  # of the pipeline itself

    @property
    def name(self) -> str:
        """As a folder's name."""
        return re.sub(r"[^a-z0-9.]+", "-", self.title.lower()).strip("-")

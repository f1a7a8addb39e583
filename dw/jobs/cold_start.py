"""The cold start of a worker: how long it took to its first result, stage by stage."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stage:
    """`name` is boot, load, first_step or first_result; `component` is what was loaded. `at` is the
    Unix time of its end."""

    name: str
    at: float
    seconds: float
    component: str = ""


class ColdStart:
    """Hears the events of the runs on one worker, as JSON, until the first result is there. A new
    process starts anew."""

    stages: list[Stage]
    _since: float
    _component: str
    _has_stepped: bool
    _is_over: bool

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._begin()

    def heard(self, event: Mapping[str, Any]) -> None:
        name, now = event["event"], float(event["time"])
        if name == "Died":
            self._begin()
        if self._is_over or name == "Died":
            return
        if self._component and name in ("Loading", "Loaded"):
            self._reached("load", now, self._component)
            self._component = ""
        match name:
            case "Launching" | "Executing":
                self._since = now
            case "Launched":
                self._reached("boot", now)
            case "Loading":
                self._component, self._since = event["component"], now
            case "Stepped" if not self._has_stepped:
                self._has_stepped = True
                self._reached("first_step", now)
            case "Produced":
                self._is_over = True
                self._reached("first_result", now)
            case _:
                pass

    def _begin(self) -> None:
        self.stages, self._since, self._component = [], 0.0, ""
        self._has_stepped = self._is_over = False

    def _reached(self, name: str, now: float, component: str = "") -> None:
        stage = Stage(name, now, now - self._since if self._since else 0.0, component)
        self.stages = [*self.stages, stage]  # others read it meanwhile
        of = f" of {component}" if component else ""
        _log.info("[%s] cold start: %s%s took %.2f s", self._worker, name, of, stage.seconds)

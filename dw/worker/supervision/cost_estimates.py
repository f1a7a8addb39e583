"""Cost estimates: what a cancel or a kill will cost, from what was measured."""

from __future__ import annotations

from dataclasses import dataclass, field

from dw.events import Cleared, Event, Executing, Loaded, Loading, Planned, Stepped


@dataclass(slots=True)
class CostEstimates:
    """Seconds of the last denoising step, and of the load of each component in memory."""

    _step_s: float | None = None
    _stepped: tuple[Stepped, float] | None = None
    _loads: dict[str, float] = field(default_factory=dict)
    _loading: tuple[str, float] | None = None

    def update(self, event: Event, now: float) -> None:
        match event:
            case Planned():
                for name in event.dropped:
                    self._loads.pop(name, None)
            case Loading():
                self._loaded(now)
                self._loading = (event.component, now)
            case Loaded() | Executing():
                self._loaded(now)
                self._stepped = None
            case Stepped(phase="denoise"):
                # Not every fast step is reported: several may lie between two reports.
                before, at = self._stepped or (event, now)
                if before.name == event.name and before.done < event.done:
                    self._step_s = (now - at) / (event.done - before.done)
                self._stepped = (event, now)
            case Stepped():
                self._stepped = None
            case Cleared():
                self._loads.clear()
            case _:
                pass

    @property
    def step_s(self) -> float | None:
        """Of a denoising step, while one is under way."""
        if self._stepped is None or self._stepped[0].done == self._stepped[0].total:
            return None
        return self._step_s

    @property
    def reload_s(self) -> float | None:
        """To load again everything that is loaded now."""
        return sum(self._loads.values()) or None

    def _loaded(self, now: float) -> None:
        if self._loading is not None:
            component, since = self._loading
            self._loads[component] = now - since
            self._loading = None

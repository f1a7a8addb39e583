"""Who the engine reports to. The engine never prints and does not know who listens."""

from __future__ import annotations

from typing import Protocol

from dw.types import OutputFile


class Observer(Protocol):
    """Called from the thread that runs, in the order of the run, and from hub threads while
    downloading."""

    def started(self, workflow: str, seed: int, output_dir: str) -> None: ...

    def planned(
        self,
        reason: str,  # first, changed, arguments or cached
        kept: tuple[str, ...],
        loading: tuple[str, ...],
        dropped: tuple[str, ...],
    ) -> None: ...

    def loading(self, component: str, class_name: str, index: int, total: int) -> None: ...

    def loaded(self, workflow: str, seconds: float) -> None: ...

    def executing(self, workflow: str) -> None: ...

    def step_started(self, name: str, index: int, total: int) -> None: ...

    def stepped(self, name: str, phase: str, done: int, total: int) -> None: ...

    def produced(self, step: str, output: OutputFile) -> None: ...

    def warned(self, message: str) -> None: ...

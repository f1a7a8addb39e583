"""Messages: the events of a command as lines of text.

The acceptance checklist quotes many of them word for word.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dw import events
from dw.events import Event
from dw.terminal.brief import Brief
from dw.types import Memory

KEYS = "  s ends the denoising early and keeps the image, Ctrl-C cancels"
MB = 2**20  # bytes; the MB of nvidia-smi
_LEFT_OUT = (
    events.Launching,
    events.Launched,
    events.Started,
    events.Planned,
    events.Loaded,
    events.Executing,
)
"""Events of a run that a brief report leaves out."""

COMPONENT_COLUMNS = ("component", "class", "dtype", "device", "size", "last used")


class EventMessages:
    """Turns the events of one command into lines; some lines depend on earlier events.

    `path` is the display path of the workflow's file. `tells_keys`: the lines name the keys that
    work during a run. `goes_on`: the program does after a run that is cancelled, so that it matters
    which models are kept. `brief`: one line for all of a run that goes well. `has_loaded`: the
    models of this very text were there before, and were cleared.
    """

    def __init__(
        self,
        path: str = "",
        *,
        tells_keys: bool = False,
        goes_on: bool = True,
        brief: Brief | None = None,
        has_loaded: bool = False,
    ) -> None:
        self.path = path
        self.tells_keys = tells_keys
        self.goes_on = goes_on
        self.brief = brief
        self.has_loaded = has_loaded
        self._loads = False  # whether the plan loads models
        self._activity = ""
        self._load_s = 0.0

    def lines(self, event: Event) -> list[str]:
        """The lines of one event; none for progress, which each renderer shows in its own way."""
        lines = self._lines(event)
        if self.brief is not None and isinstance(event, events.Finished):
            return [self.brief.line(event, self._load_s + event.seconds)]
        return [] if self.brief is not None and isinstance(event, _LEFT_OUT) else lines

    def _lines(self, event: Event) -> list[str]:
        match event:
            case events.Launching():
                return ["Starting worker process..."]
            case events.Launched():
                return ["Worker process started"]
            case events.Started():
                return [f"Running workflow: {event.workflow}", f"Seed: {event.seed}"]
            case events.Planned():
                return self._planned(event)
            case events.Loading():
                self._activity = f"the load of {event.component} ({event.index} of {event.total})"
            case events.Loaded():
                self._load_s = event.seconds
                return [f"Models loaded for workflow: {event.workflow}"] if self._loads else []
            case events.Executing():
                self._activity = ""
                keys, self.tells_keys = [KEYS] if self.tells_keys else [], False
                return [f"Executing workflow: {event.workflow}", *keys]
            case events.Produced():
                return [display_path(event.output.path)]
            case events.CancelRequested():
                return [self._cancelling(event)]
            case events.StopRequested():
                step = f" with this step{_about(event.step_s)}" if event.step_s else " early"
                return [f"Stopping: the denoising ends{step}; the image is kept"]
            case events.GraceExpired():
                lost = f", whose models are lost{reload_cost(event.reload_s)}"
                return [
                    f"It did not stop within {event.grace_s:g} s: killing the worker"
                    + (lost if self.goes_on else "")
                ]
            case events.Finished():
                early = ", stopped early" if event.stopped_early else ""
                return [
                    *memory_block(event.memory),
                    "Workflow completed successfully",
                    f"(Workflow has been executed {event.memory.runs} time(s) in this session)",
                    f"{self._load_s + event.seconds:.1f} s (loading {self._load_s:.1f} s){early}",
                ]
            case events.Reported():
                return memory_block(event.memory)
            case events.Cleared():
                alive = ", ".join(event.survivors)
                rest = f"still alive: {alive}" if alive else "nothing is left"
                return [
                    *memory_block(event.memory),
                    "GPU memory cleared successfully",
                    f"Freed {megabytes(event.freed)}; {rest}",
                ]
            case _:
                return []
        return []

    def _planned(self, event: events.Planned) -> list[str]:
        self._loads = event.reason != "cached"
        kept = [kept_line(event.kept, event.loading, event.dropped)]
        match event.reason:
            case "cached":
                return ["Reusing loaded models from cache"]
            case "arguments":
                return kept
            case "first" | "changed":
                was_loaded = event.reason == "changed" and (event.kept or event.dropped)
                return [
                    *([] if self.has_loaded else ["Workflow file changed - reloading models..."]),
                    f"Loading workflow from {self.path}",
                    *(kept if was_loaded else []),
                ]

    def _cancelling(self, event: events.CancelRequested) -> str:
        """What this cancel does and costs, and what a second Ctrl-C would do."""
        goes_on = self.goes_on and event.reason != "leaving"
        kept = "; the models are kept" if goes_on else ""
        if self._activity:
            polite = f"stops in {self._activity}, after the tensor that is being read"
        elif event.step_s is not None:
            polite = f"stops after this step{_about(event.step_s)}{kept}"
        else:
            polite = f"stops at the next step{kept}"
        reload = reload_cost(event.reload_s) if goes_on else ""
        killed = f"{polite}; killed after {event.grace_s:g} s{reload}"
        match event.reason:
            case "deadline":
                return f"Out of time: {killed}"
            case "stall":
                return f"No progress for too long: {killed}"
            case "leaving":
                return f"Leaving, because {event.cause}: the run {killed}"
            case "user":
                does = "kills the worker" if goes_on else "ends it at once"
                return f"Cancelling: {polite}. Ctrl-C again {does}{reload}"


def reload_cost(seconds: float | None) -> str:
    """What a kill costs, as the end of a sentence; empty when no load was measured."""
    return f"; reload{_about(seconds).removeprefix(',')}" if seconds else ""


def _about(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f", about {seconds:.2g} s" if seconds < 10 else f", about {seconds:.0f} s"


def display_path(path: str | Path) -> str:
    """A path as the user would type it: relative when it is below the current folder."""
    try:
        return str(Path(path).absolute().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def memory_block(memory: Memory) -> list[str]:
    """The block that the acceptance checklist quotes."""
    sizes = {
        "Allocated": memory.allocated,
        "Reserved": memory.reserved,
        "Free": memory.free,
        "Total": memory.total,
    }
    return [
        "GPU Memory Status:",
        f"  Device: {memory.device}",
        *(f"  {name}: {megabytes(nbytes)}" for name, nbytes in sizes.items()),
        f"  Runs in this session: {memory.runs}",
    ]


def megabytes(nbytes: int) -> str:
    return f"{nbytes / MB:.1f} MB"


def kept_line(kept: Sequence[str], loading: Sequence[str], dropped: Sequence[str]) -> str:
    """What a plan keeps, reloads and drops.

    Names are `step.component`; the step is omitted where the component's name is unique.
    """
    tails = {name: name.rpartition(".")[2] for name in (*kept, *loading, *dropped)}
    counts = Counter(tails.values())
    short = {name: tail if counts[tail] == 1 else name for name, tail in tails.items()}
    names = f" ({', '.join(short[name] for name in kept)})" if kept else ""
    line = f"Kept {len(kept)} of {len(kept) + len(loading)} components{names}"
    line += (
        f"; reloading: {', '.join(short[n] for n in loading)}" if loading else "; nothing to reload"
    )
    if gone := [name for name in dropped if name not in loading]:
        line += f"; dropped: {', '.join(short[name] for name in gone)}"
    return line


def component_rows(memory: Memory) -> list[tuple[str, ...]]:
    return [
        (
            row.name,
            row.class_name,
            row.dtype,
            row.device,
            megabytes(row.nbytes),
            _ago(row.last_used),
        )
        for row in memory.components
    ]


def _ago(moment: float) -> str:
    if not moment:
        return "never"
    seconds = max(0, round(time.time() - moment))
    return f"{seconds} s ago" if seconds < 120 else f"{seconds // 60} min ago"

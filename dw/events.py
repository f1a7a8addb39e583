"""Events and commands: the protocol between shell and worker, and the lines of `--json`.

Commands are imperative and go to the worker; events are in the past tense and come back. Every
message names its run (`run_id`, the number of the run's folder, one below 0 for another command, 0
for what belongs to none). Each command is answered by exactly one terminal event, always last. Both
directions carry JSON (codec.py), so nothing that arrives is ever executed. An exception crosses as
its kind, its message and its formatted traceback.
"""

from __future__ import annotations

import time as clock
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

from dw.errors import Hint, Kind
from dw.types import (
    DEFAULT_PERMISSIONS,
    Diagnostic,
    ExitKind,
    FileState,
    Memory,
    OutputFile,
    Permissions,
    Spoiled,
)

VERSION = 4
"""Raised on a breaking change; a worker whose `Ready` has another version is refused."""

COUNTED_IN_BYTES = ("read", "move", "download")
"""Phases of `Stepped`."""


def now() -> float:
    """Unix time in seconds, to the millisecond."""
    return round(clock.time(), 3)


@dataclass(frozen=True, slots=True)
class Message:
    """What commands and events share: how pydantic reads them, in codec.py."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "forbid", "allow_inf_nan": False}


@dataclass(frozen=True, slots=True)
class TimedMessage(Message):
    """What all events share. `time` is the Unix time of creation; comparisons ignore it."""

    time: float = field(default_factory=now, kw_only=True, compare=False)


# ------------------------------------------------------------------ commands: shell to worker


@dataclass(frozen=True, slots=True)
class Run(Message):
    """Run a workflow from its `text`. The file at `path` is not read again; relative paths resolve
    against it.

    `arguments` hold JSON values of the types that the workflow declares. `seed` is the user's and
    overrides the workflow's; `drawn_seed` counts where neither names one. `secrets` are values
    in the arguments that are not written anywhere. `preview_s` are the seconds between two
    previews; `partial_images` more come at even places among the denoising steps.
    """

    run_id: int
    path: str
    text: str
    arguments: dict[str, Any]
    output_dir: str
    seed: int | None = None
    drawn_seed: int = 0
    device: str | None = None  # None: the best one there is
    rehearse: bool = False
    permissions: Permissions = DEFAULT_PERMISSIONS
    secrets: dict[str, str] = field(default_factory=dict)  # see dw/redaction.py
    are_typed: bool = True  # the arguments, by the user: they may name files and hosts anywhere
    preview_s: float | None = None  # None: no previews
    partial_images: int = 0
    metadata: bool = False  # whether result files tell how they were made
    texts: dict[str, str] = field(default_factory=dict)  # of sub-workflows, by absolute path


@dataclass(frozen=True, slots=True)
class Prepare(Message):
    """Import what this workflow needs, so that its first run is not delayed. Loads no model."""

    run_id: int
    path: str
    text: str
    permissions: Permissions = DEFAULT_PERMISSIONS


@dataclass(frozen=True, slots=True)
class Check(Message):
    """Check a workflow, which may be wrong, against the installed classes. Loads no model."""

    run_id: int
    path: str
    text: str
    device: str | None = None
    rehearse: bool = False
    permissions: Permissions = DEFAULT_PERMISSIONS


@dataclass(frozen=True, slots=True)
class Cancel(Message):
    """Stop run `run_id` at its next consistent point. No effect when that run is over or unknown.
    `cause`: the reason for the run's record; None when the user asked for it."""

    run_id: int
    cause: str | None = None


@dataclass(frozen=True, slots=True)
class Stop(Message):
    """End the denoising of run `run_id` early and keep its image. No effect as with Cancel."""

    run_id: int


@dataclass(frozen=True, slots=True)
class Report(Message):
    """Report the memory, also during a run."""

    run_id: int


@dataclass(frozen=True, slots=True)
class Clear(Message):
    """Free every model, and report what was freed and what was not."""

    run_id: int


@dataclass(frozen=True, slots=True)
class Shutdown(Message):
    """Exit. The worker sends `Exited` and ends its process."""

    run_id: int = 0


Command = Run | Prepare | Check | Cancel | Stop | Report | Clear | Shutdown


# ------------------------------------------------------------------ events: worker to shell


@dataclass(frozen=True, slots=True)
class Ready(TimedMessage):
    """The worker has done its imports and takes commands.

    Its fields stay as they are in every VERSION, or the shell could not name the mismatch.
    """

    version: int
    pid: int
    import_s: float
    run_id: int = 0


@dataclass(frozen=True, slots=True)
class Heartbeat(TimedMessage):
    """Python runs in the worker, whatever its main thread does. Never shown to a user.

    A missing heartbeat means that the GIL is held or the process is stopped, not that it ended.
    """

    rss: int  # bytes
    run_id: int = 0


@dataclass(frozen=True, slots=True)
class Started(TimedMessage):
    """A run has started: its document is valid, its seed is resolved, its folder exists."""

    run_id: int
    workflow: str
    seed: int
    output_dir: str


@dataclass(frozen=True, slots=True)
class Planned(TimedMessage):
    """What this run keeps, loads and drops, before it does so. Names as in `gen.vae`.

    `reason`: nothing was loaded before (`first`), the text of the workflow differs from the last
    run's (`changed`), the same text needs other components (`arguments`), or all are loaded
    (`cached`).
    """

    run_id: int
    reason: Literal["first", "changed", "arguments", "cached"]
    kept: tuple[str, ...]
    loading: tuple[str, ...]
    dropped: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Loading(TimedMessage):
    """A component is being loaded: the `index`-th (from 1) of `total`."""

    run_id: int
    component: str
    class_name: str
    index: int
    total: int


@dataclass(frozen=True, slots=True)
class Mapped(TimedMessage):
    """Files of weights that the worker may map into its memory from now on: it ends when one of
    them is cut. For its client only."""

    run_id: int
    files: tuple[FileState, ...]


@dataclass(frozen=True, slots=True)
class Loaded(TimedMessage):
    """All planned components are in memory."""

    run_id: int
    workflow: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Executing(TimedMessage):
    """The models are loaded, and the clock of the run's deadline continues."""

    run_id: int
    workflow: str


@dataclass(frozen=True, slots=True)
class StepStarted(TimedMessage):
    """Workflow step `name`, the `index`-th (from 1) of `total`, begins."""

    run_id: int
    name: str
    index: int
    total: int


@dataclass(frozen=True, slots=True)
class Stepped(TimedMessage):
    """Progress: `done` of `total` units of `phase` in workflow step `name`, or in the load of
    component `name`. The units are bytes where a phase reads, moves or downloads, else steps."""

    run_id: int
    name: str
    phase: str
    done: int
    total: int

    @property
    def position(self) -> str:
        """`14/30`, or `3.1 of 6.9 GB` where bytes are counted."""
        if self.phase not in COUNTED_IN_BYTES:
            return f"{self.done}/{self.total}"
        unit, size = ("GB", 1e9) if self.total >= 1e9 else ("MB", 1e6)
        return f"{self.done / size:.1f} of {self.total / size:.1f} {unit}"


@dataclass(frozen=True, slots=True)
class Preview(TimedMessage):
    """What workflow step `name` has denoised after `step` of `steps`: a small PNG in base64. Of a
    video it shows latent `frame` of `frames`, counted from 0."""

    run_id: int
    name: str
    step: int
    steps: int
    width: int = 0
    height: int = 0
    image: str = ""
    frame: int | None = None
    frames: int = 1


@dataclass(frozen=True, slots=True)
class Produced(TimedMessage):
    """A result file was written, read back and given its final name."""

    run_id: int
    step: str
    output: OutputFile


@dataclass(frozen=True, slots=True)
class Warned(TimedMessage):
    """A warning for the user; the run continues."""

    run_id: int
    message: str


@dataclass(frozen=True, slots=True)
class NotFinite(TimedMessage):
    """Workflow step `name` computed NaN or an infinity: an error, unless the step allows it."""

    run_id: int
    name: str
    value: Spoiled
    is_allowed: bool


# terminal events of the worker


@dataclass(frozen=True, slots=True)
class Finished(TimedMessage):
    run_id: int
    workflow: str
    seconds: float  # execution only, without loading
    seed: int
    outputs: tuple[OutputFile, ...]
    memory: Memory
    output_dir: str
    stopped_early: bool = False  # a stop left out denoising steps or iterations


@dataclass(frozen=True, slots=True)
class RunCancelled(TimedMessage):
    """The run stopped where its models are consistent, after `step` of `steps` steps."""

    run_id: int
    step: int
    steps: int
    keeps_models: bool = True


@dataclass(frozen=True, slots=True)
class Failed(TimedMessage):
    """The command failed; the worker goes on, unless `fatal`: its CUDA context is beyond repair.

    `kind` is that of the class in dw/errors.py. `where` names step and phase."""

    run_id: int
    kind: Kind
    message: str
    where: str | None = None
    hints: tuple[Hint, ...] = ()
    trace: str = ""
    problems: tuple[Diagnostic, ...] = ()
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class Prepared(TimedMessage):
    run_id: int


@dataclass(frozen=True, slots=True)
class Checked(TimedMessage):
    """All problems found; none when the workflow fits the installed classes."""

    run_id: int
    problems: tuple[Diagnostic, ...]


@dataclass(frozen=True, slots=True)
class Reported(TimedMessage):
    run_id: int
    memory: Memory


@dataclass(frozen=True, slots=True)
class Cleared(TimedMessage):
    """`survivors`: components that are still in memory, and the type of what holds them."""

    run_id: int
    freed: int  # bytes
    memory: Memory
    survivors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Exited(TimedMessage):
    """The worker's last event; its process ends right after."""

    run_id: int = 0


# ------------------------------------------------------------- events that the supervisor makes


@dataclass(frozen=True, slots=True)
class Launching(TimedMessage):
    """A worker is being started, because the command needs one."""

    run_id: int


@dataclass(frozen=True, slots=True)
class Launched(TimedMessage):
    """Worker ready. `from_standby`: it had done its imports before the command came."""

    run_id: int
    pid: int
    from_standby: bool


@dataclass(frozen=True, slots=True)
class LogLine(TimedMessage):
    """A line that the worker wrote to standard output or standard error."""

    run_id: int
    text: str


@dataclass(frozen=True, slots=True)
class CancelRequested(TimedMessage):
    """A run was asked to stop, by `reason`; it is killed after `grace_s`.

    `leaving`: the program ends, for `cause`. If measured: a denoising step takes `step_s`, and
    loading the models again after a kill takes `reload_s`.
    """

    run_id: int
    reason: Literal["user", "deadline", "stall", "leaving"]
    grace_s: float
    step_s: float | None = None
    reload_s: float | None = None
    cause: str | None = None


@dataclass(frozen=True, slots=True)
class StopRequested(TimedMessage):
    """The denoising ends with the current step, of about `step_s`; the image is kept."""

    run_id: int
    step_s: float | None = None


@dataclass(frozen=True, slots=True)
class GraceExpired(TimedMessage):
    """The run did not stop within `grace_s`: its stack is taken, then it is killed."""

    run_id: int
    grace_s: float
    reload_s: float | None = None


@dataclass(frozen=True, slots=True)
class Died(TimedMessage):
    """The worker's process ended, and its models are lost: terminal for the command it served.

    `cause` is one clause (`killed by signal 9 (SIGKILL)`), `kind` its type. `last_step` is the last
    progress. `stack` is that of the crash, or of the moment before we killed it; then `stuck_at` is
    that moment in one line. `tail` holds the last lines of its output.
    """

    run_id: int
    kind: ExitKind
    cause: str
    pid: int
    last_step: str | None = None
    stack: str = ""
    tail: tuple[str, ...] = ()
    stuck_at: str | None = None


@dataclass(frozen=True, slots=True)
class RunTimedOut(TimedMessage):
    """Terminal: `clock` expired after `after_s`. `keeps_models`: the run stopped by itself. If not,
    it was killed, and `stack` and `stuck_at` say where it was."""

    run_id: int
    clock: Literal["deadline", "stall"]
    after_s: float
    keeps_models: bool
    last_step: str | None = None
    stack: str = ""
    stuck_at: str | None = None

    @property
    def cause(self) -> str:
        if self.clock == "stall":
            return f"no progress in {self.after_s:g} s (stall)"
        return f"not done after {self.after_s:g} s (timeout)"


TerminalEvent = (
    Finished | RunCancelled | Failed | Prepared | Checked | Reported | Cleared | Exited | Died
    | RunTimedOut
)  # fmt: skip
Event = (
    Ready | Heartbeat | Started | Planned | Loading | Mapped | Loaded | Executing | StepStarted
    | Stepped | Preview | Produced | Warned | NotFinite | Launching | Launched | LogLine |
    CancelRequested | StopRequested | GraceExpired | TerminalEvent
)  # fmt: skip

COMMANDS = get_args(Command)
EVENTS = get_args(Event)
TERMINAL = get_args(TerminalEvent)

"""Exit causes: how a process ended, from its exit code and the kernel's counters."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dw.types import ExitKind, FileState

SIGKILL, SIGTERM = 9, 15  # Windows names only the second, and ends processes with it
OOM_KILLED = "killed by the kernel's OOM-killer: the host ran out of memory"
SELF_CGROUP = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a process ended, as the kernel reports it, and what it left behind."""

    pid: int
    exit_code: int  # negative: the signal that ended it
    oom_killed: bool
    stack: str = ""
    tail: tuple[str, ...] = ()
    start_error: str | None = None  # why no process could be started
    cut_file: str | None = None  # a file that was mapped into its memory, and what happened to it

    @property
    def was_killed(self) -> bool:
        """Whether it ended as our own kills end a process."""
        return self.exit_code in (-SIGKILL, -SIGTERM)

    @property
    def kind(self) -> ExitKind:
        if self.oom_killed:
            return "oom-killer"
        if self.cut_file:
            return "cut-file"
        return "signal" if self.exit_code < 0 else "exit"

    @property
    def cause(self) -> str:
        """One clause: `killed by signal 9 (SIGKILL)`."""
        if self.start_error:
            return self.start_error
        if self.oom_killed:
            return OOM_KILLED
        if self.exit_code < 0:
            told = f"killed by signal {-self.exit_code} ({signal_name(-self.exit_code)})"
            return f"{told}: {self.cut_file} while it was in use" if self.cut_file else told
        return f"exited with code {self.exit_code}"


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def cut_file(exit_code: int, mapped: Iterable[FileState]) -> str | None:
    """Which of the mapped files ended a process that a SIGBUS ended, and what happened to it: one
    that is shorter, or else one that was written to, as a file is when it is saved anew."""
    if signal_name(-exit_code) != "SIGBUS":
        return None
    found = [f"{str(file.path)!r} {change}" for file in mapped if (change := file.change())]
    return next((each for each in found if " was cut " in each), next(iter(found), None))


def oom_kills() -> int:
    """How many processes of our memory cgroup the kernel's OOM-killer has killed; 0 if unknown."""
    for path in _event_files():
        try:
            words = path.read_text().split()
        except OSError:
            continue
        if "oom_kill" in words:
            return int(words[words.index("oom_kill") + 1])
    return 0


def _event_files() -> list[Path]:
    """The counters of cgroup v2, then of v1 (documented in the kernel's cgroup-v2.rst and
    memory.rst).
    """
    try:
        lines = SELF_CGROUP.read_text().splitlines()
    except OSError:
        lines = []
    files = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            files.append(CGROUPS / path.lstrip("/") / "memory.events")
        elif "memory" in controllers.split(","):
            files.append(CGROUPS / "memory" / path.lstrip("/") / "memory.oom_control")
    # In a container the group's own path is not mounted; what is mounted at the root is ours.
    return [*files, CGROUPS / "memory.events", CGROUPS / "memory" / "memory.oom_control"]

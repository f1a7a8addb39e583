"""Plain data that all packages share: diagnostics, permissions, result files, memory.

They are made in the workflow or the engine, cross the pipe as JSON, and are shown by the shell.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Severity = Literal["error", "warning", "note"]
ExitKind = Literal[
    "signal", "oom-killer", "cut-file", "exit", "boot", "killed", "poisoned", "version"
]
"""How a worker ended."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """A problem at a place in a file. `line` and `column` count from 1."""

    path: str
    line: int
    column: int
    message: str
    severity: Severity = "error"

    @property
    def place(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"

    def __str__(self) -> str:
        return f"{self.place}: {self.severity}: {self.message}"


@dataclass(frozen=True, slots=True)
class Permissions:
    """What a workflow may do. `trust`: import any package, run code of a model's repository, load
    pickles, and read files and addresses anywhere. `allowed_dirs`: absolute folders in which it may
    name files, besides its own folder and the current one."""

    trust: bool = False
    allowed_dirs: tuple[Path, ...] = ()
    comfyui: str = ""  # URL of the user's ComfyUI, which may be in this network; empty: none


DEFAULT_PERMISSIONS = Permissions()


@dataclass(frozen=True, slots=True)
class FileState:
    """A file at one time. `status`: its device, inode, size in bytes, mtime and ctime in ns."""

    path: Path
    status: tuple[int, int, int, int, int]

    @classmethod
    def of(cls, path: Path) -> FileState:
        """Raises OSError when there is no such file."""
        s = path.stat()
        return cls(path, (s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns))

    @property
    def nbytes(self) -> int:
        return self.status[2]

    def change(self) -> str | None:
        """What happened to the file since then: `was removed`; None when its stat is the same."""
        try:
            now = FileState.of(self.path).status
        except OSError:
            return "was removed"
        if now == self.status:
            return None
        if now[:2] != self.status[:2]:
            return "was replaced"
        if now[2] < self.nbytes:
            return f"was cut from {self.nbytes} to {now[2]} bytes"
        return "was changed"


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A result file, verified: it was read back completely after it was written."""

    path: str
    content_type: str
    nbytes: int
    sha256: str
    width: int | None = None  # pixels
    height: int | None = None
    frames: int | None = None
    seconds: float | None = None  # of a video or an audio file
    sample_rate: int | None = None  # Hz, of an audio file


@dataclass(frozen=True, slots=True)
class ComponentRow:
    """One cached component. `nbytes` counts parameters and buffers, each storage once."""

    name: str
    class_name: str
    dtype: str
    device: str
    nbytes: int
    last_used: float  # Unix time, seconds


@dataclass(frozen=True, slots=True)
class Memory:
    """The device's memory in bytes. Without CUDA, `allocated` and `reserved` are the bytes of
    loaded models, and `free` and `total` are the host's."""

    device: str
    allocated: int
    reserved: int
    free: int
    total: int
    runs: int
    components: tuple[ComponentRow, ...] = ()


@dataclass(frozen=True, slots=True)
class Spoiled:
    """A computed value that is NaN or infinite. `component` computed it, if that is known. `step`
    of `steps`: of the denoising; 0 of 0 elsewhere. `samples` (from 1) of the `batch`: those that
    are affected, none where all are."""

    what: str
    component: str | None = None
    step: int = 0
    steps: int = 0
    samples: tuple[int, ...] = ()
    batch: int = 1

    def __str__(self) -> str:
        """`NaN or infinity in the latents, denoising step 3 of 20, number 2 of 4`."""
        where = f", denoising step {self.step} of {self.steps}" if self.steps else ""
        numbers = ", ".join(map(str, self.samples))
        which = f", number {numbers} of {self.batch}" if numbers else ""
        return f"NaN or infinity in {self.what}{where}{which}"

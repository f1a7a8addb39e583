"""What the operating system tells of a process without asking it."""

from __future__ import annotations

from collections.abc import Iterator


def rss(pid: int | None = None) -> int:
    """Bytes of host memory that a process, by default this one, holds."""
    import psutil

    resident: int = psutil.Process(pid).memory_info().rss
    return resident


def condition(pid: int, silent_s: float | None) -> Iterator[str]:
    """What is unusual about a process: that it is stopped, waits in the kernel, or is silent."""
    import psutil

    try:
        state = psutil.Process(pid).status()
    except psutil.Error:
        return
    if state == psutil.STATUS_STOPPED:
        yield f"the process is stopped (kill -CONT {pid} lets it go on)"
    elif state == psutil.STATUS_DISK_SLEEP:
        yield "it waits in the kernel, for the driver or a disk"
    if silent_s is not None:
        yield silence(silent_s)


def silence(seconds: float) -> str:
    return (
        f"Python does not answer since {seconds:.0f} s (the GIL is held or the process is stopped)"
    )

"""Refusals: what the operating system does not give a program, as errors that name the cure.

A full disk, a limit of the user or a folder that is gone is neither a bug in dw nor a fault of the
workflow.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from dw.errors import Bug, DwError, Hint, OutOfResources, RunFailed, ShowMemory, UsageError

_FULL = "free some space there, or name another folder"
_RIGHTS = "name another folder, or change its rights"
_LIMITS = {
    errno.EFBIG: "ulimit -f   shows the largest file that you may write, in blocks",
    errno.EMFILE: "ulimit -n 1024   allows more",
    errno.ENFILE: "other programs on this machine hold them",
    errno.EAGAIN: "ulimit -u   shows how many processes and threads you may have",
}
_SHORTAGES = _LIMITS | {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.ENOMEM: "end other programs",
}
_DENIALS = {
    errno.EROFS: "name another folder",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EIO: "the disk may be broken",
    errno.ESTALE: "the network drive has changed: try again",
}
_OS_ERROR = re.compile(r"\(os error (\d+)\)")  # in the words of libraries written in Rust
_NO_THREAD = "can't start new thread"  # CPython's words
_NO_TEMPORARY = "No usable temporary directory"  # those of its module tempfile


def refusal(error: BaseException) -> DwError | None:
    """The error for what the operating system has refused; None for what may be a bug."""
    each: BaseException | None = error
    while each is not None:
        if isinstance(each, MemoryError):
            return OutOfResources("the host's memory is exhausted", hints=[ShowMemory()])
        if isinstance(each, RuntimeError) and str(each) == _NO_THREAD:
            return cannot("start a thread", OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)))
        if (found := _OS_ERROR.search(str(each))) and not isinstance(each, OSError):
            number = int(found[1])
            each = OSError(number, os.strerror(number))
        if isinstance(each, OSError) and (refused := _refusal(each)):
            return refused
        each = each.__cause__
    return None


def understood(error: Exception) -> DwError:
    """The error to show for an exception that ends a command."""
    return error if isinstance(error, DwError) else refusal(error) or Bug.from_exception(error)


def cannot(what: str, error: OSError, *hints: Hint) -> RunFailed:
    """The error for something that failed, with its cure unless other hints are given."""
    kind = OutOfResources if error.errno in _SHORTAGES else RunFailed
    return kind(f"cannot {what}: {reason(error)}", hints=hints or cures(error))


def reason(error: OSError) -> str:
    return error.strerror or str(error)


def cures(error: OSError, *, of_limits: bool = False) -> tuple[str, ...]:
    """What can be done. `of_limits`: only where another folder is no help."""
    known = _LIMITS if of_limits else _SHORTAGES | _DENIALS
    return (known[error.errno],) if error.errno in known else ()


def _refusal(error: OSError) -> DwError | None:
    if _NO_TEMPORARY in str(error):
        return OutOfResources(
            "no folder for temporary files can be written",
            hints=["TMPDIR=FOLDER   names one", _LIMITS[errno.EFBIG]],
        )
    if error.errno == errno.ENOENT and error.filename is None and not _has_current_folder():
        return UsageError(
            "the current folder was deleted", hints=["cd to one that exists, and start again"]
        )
    if error.errno not in _SHORTAGES | _DENIALS:
        return None
    return cannot(
        "go on" if error.filename is None else f"use {os.fsdecode(error.filename)!r}", error
    )


def _has_current_folder() -> bool:
    try:
        Path.cwd()
    except OSError:
        return False
    return True

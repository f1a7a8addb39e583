"""What the operating system refuses: each with its class, its words and its cure."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from dw.errors import (
    Bug,
    DwError,
    OutOfResources,
    RunFailed,
    ShowMemory,
    UsageError,
    WorkerLost,
)
from dw.refusals import cannot, cures, reason, refusal, understood


def os_error(number: int, file: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), file)


SHORTAGES = {
    errno.EFBIG: "ulimit -f   shows the largest file that you may write, in blocks",
    errno.EMFILE: "ulimit -n 1024   allows more",
    errno.ENFILE: "other programs on this machine hold them",
    errno.EAGAIN: "ulimit -u   shows how many processes and threads you may have",
    errno.ENOSPC: "free some space there, or name another folder",
    errno.EDQUOT: "free some space there, or name another folder",
    errno.ENOMEM: "end other programs",
}
DENIALS = {
    errno.EROFS: "name another folder",
    errno.EACCES: "name another folder, or change its rights",
    errno.EPERM: "name another folder, or change its rights",
    errno.EIO: "the disk may be broken",
    errno.ESTALE: "the network drive has changed: try again",
}
KNOWN = [
    *((number, OutOfResources, cure) for number, cure in SHORTAGES.items()),
    *((number, RunFailed, cure) for number, cure in DENIALS.items()),
]


@pytest.mark.parametrize(("number", "kind", "cure"), KNOWN)
def test_each_refusal_has_its_class_its_words_and_its_cure(
    number: int, kind: type[DwError], cure: str
) -> None:
    words = os.strerror(number)
    for file, what in [("a/b.json", "use 'a/b.json'"), (None, "go on")]:
        error = refusal(os_error(number, file))
        assert type(error) is kind
        assert (str(error), error.hints) == (f"cannot {what}: {words}", (cure,))
    told = cannot("write it", os_error(number), "XDG=...   names another")
    assert (type(told), str(told)) == (kind, f"cannot write it: {words}")
    assert told.hints == ("XDG=...   names another",)
    assert cannot("write it", os_error(number)).hints == (cure,)
    assert reason(os_error(number)) == words


def test_another_folder_is_no_cure_of_a_limit() -> None:
    limits = {errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.EAGAIN}
    for number, _, cure in KNOWN:
        expected = (cure,) if number in limits else ()
        assert cures(os_error(number), of_limits=True) == expected
        assert cures(os_error(number)) == (cure,)
    assert cures(os_error(errno.ENOENT)) == ()


@pytest.mark.parametrize(
    "error",
    [
        os_error(errno.ENOENT, "a.json"),
        os_error(errno.ENOENT),
        os_error(errno.EINVAL),
        ZeroDivisionError("by zero"),
        RuntimeError("can't start new threads"),
        ValueError("code 28"),
    ],
)
def test_what_may_be_a_bug_is_one(error: Exception) -> None:
    assert refusal(error) is None
    assert isinstance(understood(error), Bug)
    assert type(error).__name__ in str(understood(error))


def test_an_error_of_ours_is_as_it_is() -> None:
    error = WorkerLost("gone")
    assert understood(error) is error


def test_a_cause_counts_and_what_was_merely_handled_does_not() -> None:
    full = os_error(errno.ENOSPC)
    of_a_library = ValueError("cannot save")
    of_a_library.__cause__ = full
    assert isinstance(refusal(of_a_library), OutOfResources)
    assert isinstance(understood(of_a_library), OutOfResources)
    bug = ZeroDivisionError()
    bug.__context__ = full
    assert refusal(bug) is None


def test_memory_and_threads_are_resources_too() -> None:
    error = refusal(MemoryError())
    assert type(error) is OutOfResources
    assert str(error) == "the host's memory is exhausted"
    assert error.hints == (ShowMemory(),)
    error = refusal(RuntimeError("can't start new thread"))
    assert type(error) is OutOfResources
    assert str(error) == "cannot start a thread: Resource temporarily unavailable"
    assert error.hints == (SHORTAGES[errno.EAGAIN],)


def test_the_errors_of_rust_are_those_of_the_system() -> None:
    error = refusal(Exception("I/O error: No space left on device (os error 28)"))
    assert type(error) is OutOfResources
    assert str(error) == "cannot go on: No space left on device"
    assert refusal(Exception("No such file or directory (os error 2)")) is None


def test_a_missing_folder_for_temporary_files_is_named_with_its_variable() -> None:
    error = refusal(
        FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")
    )
    assert type(error) is OutOfResources
    assert str(error) == "no folder for temporary files can be written"
    assert error.hints == ("TMPDIR=FOLDER   names one", SHORTAGES[errno.EFBIG])


def test_a_deleted_current_folder_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(FileNotFoundError) as caught:
        Path("a").absolute()
    error = refusal(caught.value)
    assert type(error) is UsageError
    assert str(error) == "the current folder was deleted"
    assert error.hints == ("cd to one that exists, and start again",)
    assert refusal(os_error(errno.ENOENT, "a.json")) is None, "that file is missing, wherever"


def test_without_a_number_the_text_is_the_reason() -> None:
    assert reason(OSError("the archive is odd")) == "the archive is odd"
    assert str(cannot("read it", OSError("odd"))) == "cannot read it: odd"
    assert type(cannot("read it", OSError("odd"))) is RunFailed

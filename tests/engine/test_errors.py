from __future__ import annotations

from typing import Any

import pytest
import torch

from dw.engine import Cancelled
from dw.engine.errors import DeviceDied, OutOfMemory, failing
from dw.errors import DwError, RunFailed, UsageError


def failure(error: BaseException) -> DwError:
    with pytest.raises(DwError) as caught, failing(lambda: "step 'gen'"):
        raise error
    return caught.value


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("width 63\n\tis odd"), "width 63 is odd"),
        (KeyError("sample"), "KeyError: 'sample'"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_an_error_is_told_in_one_line(error: Exception, message: str) -> None:
    failed = failure(error)
    assert (type(failed), failed.message, failed.where) == (RunFailed, message, "step 'gen'")
    assert failed.__cause__ is error


def raised(top: Exception, *causes: Exception, explicit: bool) -> Exception:
    """`top`, raised from or while handling the causes, the nearest first."""
    error = top
    for cause in causes:
        if explicit:
            error.__cause__ = cause
        error.__context__ = cause
        error = cause
    return top


@pytest.mark.parametrize("explicit", [True, False])
def test_a_library_s_sentence_is_followed_by_what_caused_it(explicit: bool) -> None:
    error = raised(OSError("cannot load x"), RuntimeError("header\ntoo large"), explicit=explicit)
    assert failure(error).message == "cannot load x; cause: header too large"


def test_what_a_library_tried_first_is_no_cause() -> None:
    tried = UnicodeDecodeError("utf-8", b"a", 0, 1, "invalid start byte")
    error = raised(OSError("cannot load x"), tried, RuntimeError("cut short"), explicit=False)
    assert failure(error).message == "cannot load x; cause: cut short"
    error = raised(OSError("cannot load x"), KeyError("unet"), explicit=True)
    assert failure(error).message == "cannot load x; cause: KeyError: 'unet'"


def test_a_cause_that_says_the_same_is_told_once_and_one_that_is_hidden_is_not() -> None:
    error = raised(OSError("cannot load: bad header"), ValueError("bad header"), explicit=False)
    assert failure(error).message == "cannot load: bad header"
    error.__suppress_context__ = True
    assert failure(error).message == "cannot load: bad header"


def test_a_long_text_is_cut() -> None:
    message = failure(RuntimeError("\n".join(f"size mismatch for {n}" for n in range(500)))).message
    assert message.startswith("size mismatch for 0 size mismatch for 1 ")
    assert message.endswith(" ...")
    assert len(message) < 700


def test_a_circle_of_causes_ends() -> None:
    error, other = OSError("one"), OSError("two")
    error.__context__, other.__context__ = other, error
    assert failure(error).message == "one; cause: two"


def test_a_lack_of_memory_that_a_library_wraps_is_one() -> None:
    error = raised(RuntimeError("cannot load"), torch.OutOfMemoryError("no room"), explicit=True)
    assert isinstance(failure(error), OutOfMemory)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"),
        torch.AcceleratorError("CUDA error: out of memory"),
    ],
)
def test_a_lack_of_memory_is_told_from_other_errors_and_is_not_fatal(error: Exception) -> None:
    failed = failure(error)
    assert isinstance(failed, OutOfMemory)


def test_a_dead_context_is_fatal() -> None:
    error = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    assert isinstance(failure(error), DeviceDied)


def test_an_error_that_knows_its_place_keeps_it() -> None:
    assert failure(RunFailed("no", where="step 'inner'")).where == "step 'inner'"
    assert failure(UsageError("no")).where == "step 'gen'"


def test_the_frames_that_it_passed_through_hold_nothing() -> None:
    class Latents:
        pass

    import weakref

    watches: list[Any] = []

    def pipeline() -> None:
        latents = Latents()
        watches.append(weakref.ref(latents))
        raise Cancelled(1, 2)

    with pytest.raises(Cancelled), failing(lambda: "step 'gen'"):
        pipeline()
    assert watches[0]() is None

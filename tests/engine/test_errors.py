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
        (ValueError("width 63\nis odd"), "width 63"),
        (KeyError("sample"), "KeyError: 'sample'"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_an_error_is_told_by_its_first_line(error: Exception, message: str) -> None:
    failed = failure(error)
    assert (type(failed), failed.message, failed.where) == (RunFailed, message, "step 'gen'")
    assert failed.__cause__ is error


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

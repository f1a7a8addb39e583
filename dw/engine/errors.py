"""Errors of a run: from what libraries raise to what a user understands, without the tensors that
the raised exceptions hold."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from dw.errors import DwError, OutOfResources, RunFailed, causes, told
from dw.refusals import refusal

OUT_OF_MEMORY_TEXTS = (
    "can't allocate memory",  # torch's CPU allocator
    "CUDA error: out of memory",  # outside of torch's CUDA allocator; it leaves the context alive
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "cudaErrorMemoryAllocation",
    "MPS backend out of memory",
)


class OutOfMemory(OutOfResources):
    """Of the device or the host. The message is the allocator's until the engine replaces it."""


class DeviceDied(RunFailed):
    """The device's context is beyond repair: only another process can use it."""

    fatal = True


@contextmanager
def failing(where: Callable[[], str] = str) -> Iterator[None]:
    """Turn exceptions into RunFailed, OutOfMemory and DeviceDied that say `where`; keep those
    that are DwErrors.

    The frames that an exception passed through are cleared: they hold latents and whole pipelines.
    """
    try:
        yield
    except DwError as error:
        error.where = error.where or where()
        raise
    except BaseException as error:
        traceback.clear_frames(error.__traceback__)
        if isinstance(error, Exception):
            raise _translated(error, where()) from error
        raise


@contextmanager
def at(*path: str | int) -> Iterator[None]:
    """Have an error say the path of what it is about, below the workflow's pipeline."""
    try:
        yield
    except DwError as error:
        error.path = (*path, *error.path)
        raise


def _translated(error: Exception, where: str) -> RunFailed:
    message, found = told(error), tuple(causes(error))
    if any(map(_is_out_of_memory, found)):
        return OutOfMemory(message, where=where)
    if any(isinstance(each, torch.AcceleratorError) for each in found):
        return DeviceDied(message, where=where)
    if isinstance(refused := refusal(error), OutOfResources):  # a disk, a limit of the user
        return OutOfResources(message, where=where, hints=refused.hints)
    return RunFailed(message, where=where)


def _is_out_of_memory(error: BaseException) -> bool:
    says_so = isinstance(error, RuntimeError) and any(t in str(error) for t in OUT_OF_MEMORY_TEXTS)
    return says_so or isinstance(error, torch.OutOfMemoryError | MemoryError)

"""Limits of the user for a process that is about to start, as functions for `preexec_fn`."""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Callable

Prepare = Callable[[], object]

NOBODY = 54_321  # a user without any process
PR_CAPBSET_DROP, CAP_SYS_ADMIN, CAP_SYS_RESOURCE = 24, 21, 24  # linux/prctl.h, linux/capability.h


def processes(count: int) -> Prepare:
    """Threads count as well. The real user is another, because the kernel never limits root; the
    effective one stays, so that the files of the test can be read."""

    def prepare() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (CAP_SYS_ADMIN, CAP_SYS_RESOURCE):
            assert libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0
        resource.setrlimit(resource.RLIMIT_NPROC, (count, count))
        os.setresuid(NOBODY, 0, 0)

    return prepare

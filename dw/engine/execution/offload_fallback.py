"""The offload fallback: a run that does not fit into a GPU's memory is repeated once with models
offloaded."""

from __future__ import annotations

from collections.abc import Callable

from dw.engine.errors import OutOfMemory
from dw.engine.execution.remembered import Remembered
from dw.engine.execution.run import RunContext, RunState
from dw.engine.memory.out_of_memory import OutOfMemoryReport
from dw.engine.models.spec import Offload

Act = Callable[[RunState], None]


class OffloadFallback:
    def __init__(self) -> None:
        self._offload: Remembered[Offload] = Remembered()

    def known(self, context: RunContext) -> Offload | None:
        """The offload that made room for this workflow before: without it the run would fail
        again, after a long load."""
        offload = self._offload.of(context.document)
        if offload is not None:
            context.warn(f"using offload {offload!r}: an earlier run did not fit without it")
        return offload

    def forget(self) -> None:
        self._offload.forget()

    def run(self, run: RunState, attempt: Act, *, make_room: Act) -> None:
        """Attempt the run; if the GPU's memory is too small, once more with less on it."""
        try:
            attempt(run)
        except OutOfMemory as error:
            cheaper = run.planner.cheaper()
            if cheaper is None:
                raise
            message = report_of(run, error).message()
        else:
            return
        # Not in the `except` block, whose exception holds what has to be freed.
        offload = cheaper.context.offload
        assert offload is not None
        run.context.warn(f"{message}; once more with offload {offload!r}")
        make_room(run)
        run.planner = cheaper
        self._offload.keep(run.context.document, offload)
        attempt(run)


def report_of(run: RunState, error: OutOfMemory) -> OutOfMemoryReport:
    """What was in memory when it ran out."""
    vae = getattr(run.pipeline, "vae", None)
    return OutOfMemoryReport(
        text=error.message,
        free=run.device.memory().free,
        loaded=run.context.cache.components(),
        has_host=run.device.kind == "cuda",
        decodes_whole=run.is_denoised and not getattr(vae, "use_tiling", True),
    )

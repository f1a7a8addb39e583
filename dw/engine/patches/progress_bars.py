"""Progress bars: the tqdm bars of diffusers, transformers, torch and the hub, sent to one listener.

`install` must run before diffusers is imported, as its modules bind `tqdm.auto.tqdm` to names of
their own; the `__init__` of dw.engine calls it first. A bar here draws nothing: it counts, reports
to the listener, and is a point where a run can be cancelled.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import tqdm
import tqdm.auto
import tqdm.std

Item = TypeVar("Item")

REPORT_INTERVAL_S = 0.05
"""At most 20 reports a second for one bar: the eye sees no more, and each report is an event."""

COUNTED_IN_BYTES = ("Loading weights",)
"""The bar of transformers over the tensors that weight_reading.py counts."""


@dataclass(frozen=True, slots=True)
class Listener:
    """The first two are called with phase, done and total (0: unknown)."""

    count: Callable[[str, int, int], None]  # at every update; raises to stop what the bar counts
    report: Callable[[str, int, int], None]  # at most once in REPORT_INTERVAL_S, and at the end
    warn: Callable[[str], None] = lambda _: None  # called with a warning of a library, in one line


_listener: Listener | None = None


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Send what the bars count to `listener`, in the thread that counts."""
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before


def warn(text: str) -> None:
    """Pass a warning of a library on to the listener."""
    if _listener is not None:
        _listener.warn(text)


class Bar(tqdm.std.tqdm):  # type: ignore[misc]
    """A bar of a `phase`: `denoise` (a pipeline's own bar), `download` (bytes), `load`, one of
    weight_reading.py's, or one of a task's own."""

    monitor_interval = 0  # no monitor thread: nothing is drawn

    def __init__(self, *args: Any, phase: str | None = None, **kwargs: Any) -> None:
        kwargs["disable"] = True
        super().__init__(*args, **kwargs)
        maker = sys._getframe(1)
        # DiffusionPipeline.progress_bar makes the bar of the denoising loop, whatever its settings.
        self.phase = "denoise" if maker.f_code.co_name == "progress_bar" else "load"
        is_of_hub = type(self).__module__.startswith("huggingface_hub")
        if is_of_hub or maker.f_globals["__name__"] == "torch.hub":
            self.phase = "download"
        if kwargs.get("desc") in COUNTED_IN_BYTES:
            self.phase = ""
        self.phase = phase or self.phase
        self._reports_end = phase is not None or self.phase == "denoise"
        self._reported_at = time.monotonic()
        if self.phase == "denoise":
            self._count(is_due=True)

    def __iter__(self) -> Iterator[Any]:
        for item in self.iterable:
            yield item
            self.update()

    def update(self, n: float | None = 1) -> None:
        self.n += n or 0
        is_last = self._reports_end and self.n == self.total
        self._count(is_due=is_last or time.monotonic() - self._reported_at >= REPORT_INTERVAL_S)

    def _count(self, *, is_due: bool) -> None:
        if _listener is None or not self.phase:
            return
        position = (self.phase, int(self.n), int(self.total or 0))
        if is_due:
            self._reported_at = time.monotonic()
            _listener.report(*position)
        _listener.count(*position)

    def close(self) -> None: ...

    def refresh(self, *_args: Any, **_kwargs: Any) -> None: ...

    def set_description(self, *_args: Any, **_kwargs: Any) -> None: ...

    def set_postfix(self, *_args: Any, **_kwargs: Any) -> None: ...


def counting(items: Collection[Item], phase: str) -> Iterator[Item]:
    """The items one by one, counted as units of `phase`."""
    yield from Bar(items, total=len(items), phase=phase)


# tqdm's default lock is a multiprocessing one, which starts a resource tracker process.
Bar.set_lock(threading.RLock())


def install() -> None:
    """Replace tqdm's classes with `Bar`, also where a module has bound them already."""
    originals = {tqdm.tqdm, tqdm.auto.tqdm} - {Bar}
    for module in list(sys.modules.values()):
        name = getattr(module, "__name__", "")
        is_bound = name == "torch.hub" or name.startswith(("diffusers", "transformers"))
        if is_bound and vars(module).get("tqdm") in originals:
            vars(module)["tqdm"] = Bar
    tqdm.tqdm = tqdm.auto.tqdm = Bar

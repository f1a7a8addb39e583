"""The bridge from every tqdm bar of diffusers, transformers, torch and the hub to one listener.

`install` must run before diffusers is imported: its modules bind `tqdm.auto.tqdm` to a name of
their own at import. dw.engine's `__init__` does it first of all. A bar here never draws; it counts,
tells the listener, and is a place where a run can be cancelled.
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
"""At most 20 reports a second for one bar; the eye sees no more, and a pipe has a reader."""

COUNTED_IN_BYTES = ("Loading weights",)
"""The bar of transformers over the tensors that reading.py counts."""


@dataclass(frozen=True, slots=True)
class Listener:
    """The first two are called with phase, done and total (0: unknown)."""

    count: Callable[[str, int, int], None]  # at every update; raises to stop what the bar counts
    report: Callable[[str, int, int], None]  # as often as somebody wants to look at it
    warn: Callable[[str], None] = lambda _: None  # with what a library warns of, in one line


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


def remark(text: str) -> None:
    """Tell the listener what a library warns of."""
    if _listener is not None:
        _listener.warn(text)


class Bar(tqdm.std.tqdm):  # type: ignore[misc]
    """A bar of a `phase`: `denoise` (a pipeline's own bar), `download` (bytes), `load`, one of
    reading.py's, or one of a command's own."""

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
        self._tells_end = phase is not None or self.phase == "denoise"
        self._told_at = time.monotonic()
        if self.phase == "denoise":
            self._tell(is_due=True)

    def __iter__(self) -> Iterator[Any]:
        for item in self.iterable:
            yield item
            self.update()

    def update(self, n: float | None = 1) -> None:
        self.n += n or 0
        is_last = self._tells_end and self.n == self.total
        self._tell(is_due=is_last or time.monotonic() - self._told_at >= REPORT_INTERVAL_S)

    def _tell(self, *, is_due: bool) -> None:
        if _listener is None or not self.phase:
            return
        position = (self.phase, int(self.n), int(self.total or 0))
        if is_due:
            self._told_at = time.monotonic()
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
    """Put `Bar` in the place of tqdm's classes, also where a module has bound them already."""
    originals = {tqdm.tqdm, tqdm.auto.tqdm} - {Bar}
    for module in list(sys.modules.values()):
        name = getattr(module, "__name__", "")
        is_bound = name == "torch.hub" or name.startswith(("diffusers", "transformers"))
        if is_bound and vars(module).get("tqdm") in originals:
            vars(module)["tqdm"] = Bar
    tqdm.tqdm = tqdm.auto.tqdm = Bar

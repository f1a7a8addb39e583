"""Cancellation: a cancel gives a run up, a stop ends its denoising early and keeps the image.

Both are flags on the run's own object. A cancel takes effect only where the libraries' state is
consistent: before the forward of each component, between denoising steps, between components being
loaded, and between iterations and steps of the workflow. An image made after a cancel equals one
made before it.

A stop applies to the workflow step that runs when it comes, or to the first one. The denoising ends
after its current step, at the earliest the first, and the image is decoded and saved; a text ends
with its next token. The remaining iterations of the step are skipped, as are those of the steps
around it when it is in a sub-workflow; later steps run whole, on what there is.
"""

from __future__ import annotations


class Cancelled(BaseException):
    """The run was cancelled. Not an Exception: pipelines catch those.

    `step` of `steps` is the last denoising step that was done, 0 of 0 before the first. `cause`
    says why, if the user did not cancel it.
    """

    def __init__(self, step: int = 0, steps: int = 0, cause: str | None = None) -> None:
        why = f": {cause}" if cause else ""
        super().__init__(f"cancelled after step {step} of {steps}{why}")
        self.step = step
        self.steps = steps


class RunControl:
    """One run's flags and last progress. `cancel` and `stop` may be called in any thread, at any
    time."""

    def __init__(self) -> None:
        self.step = 0
        self.steps = 0
        self.is_cancelled = False
        self._cause: str | None = None
        self._is_stopping = False

    def cancel(self, cause: str | None = None) -> None:
        self._cause = cause
        self.is_cancelled = True

    def stop(self) -> None:
        """End the denoising early and keep the image. Two before the first is taken are one."""
        self._is_stopping = True

    def take_stop(self) -> bool:
        """Whether `stop` was called since the last call of this."""
        if not self._is_stopping:
            return False  # without touching it: another thread may be just setting it
        self._is_stopping = False
        return True

    def check(self) -> None:
        """Raises Cancelled once `cancel` was called."""
        if self.is_cancelled:
            raise Cancelled(self.step, self.steps, self._cause)

    def stepped(self, step: int, steps: int) -> None:
        self.step, self.steps = step, steps

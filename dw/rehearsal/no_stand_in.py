"""NoStandIn: the reason why a tiny component cannot be made."""

from __future__ import annotations

from dataclasses import replace

from dw.errors import Hint, UseRealModels, WorkflowError
from dw.extras import install


class NoStandIn(Exception):
    """No component of this class can be made, or not without a missing package."""

    def __init__(self, class_name: str, *, needs: str | None = None) -> None:
        super().__init__(class_name, needs)
        self.class_name = class_name
        self.needs = needs  # the package that is missing

    def __str__(self) -> str:
        if self.needs is not None:
            return f"{self.class_name} needs the package {self.needs!r}"
        return f"{self.class_name} has no stand-in"

    def refusal(self, what: str) -> WorkflowError:
        """The error for the user, who asked for `what`."""
        hints: list[Hint] = [UseRealModels()]
        if self.needs is not None:
            hints.insert(0, replace(install(self.needs), effect="lets it be rehearsed, and run"))
        return WorkflowError(f"{what} cannot be rehearsed: {self}", hints=hints)

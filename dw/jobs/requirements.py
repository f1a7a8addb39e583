"""Requirements: what the deployment of a service says that this machine must have."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dw.errors import DwError
from dw.health.host import check_folder
from dw.refusals import understood
from dw.worker.process.resources import free_gpu_bytes


class InitializationFailed(DwError):
    """No job can be run here, whatever it asks for."""

    error_type = "initialization_error"

    def to_json(self) -> dict[str, Any]:
        """The answer of an initialization."""
        return {"success": False, "error": str(self), "error_type": self.error_type}


@dataclass(frozen=True, slots=True)
class Requirements:
    """`environment` names variables that must have a value; `output_dir` must be writable."""

    output_dir: Path
    environment: Sequence[str] = ()
    needs_cuda: bool = False

    def failure(self) -> InitializationFailed | None:
        """The first one that is not met; None when all are."""
        try:
            self.check_environment()
            self.check_cuda()
            self.check_output_dir()
        except InitializationFailed as error:
            return error
        except OSError as error:
            found = understood(error)
            return InitializationFailed(
                f"Unexpected error during worker initialization: {found}", hints=found.hints
            )
        return None

    def check_environment(self) -> None:
        for name in self.environment:
            if not os.environ.get(name):
                raise InitializationFailed(f"{name} environment variable is required")

    def check_cuda(self) -> None:
        """By the driver: torch would take seconds to be imported, and make a context."""
        if self.needs_cuda and not free_gpu_bytes():
            raise InitializationFailed("CUDA is not available. This worker requires a GPU.")

    def check_output_dir(self) -> None:
        found = check_folder("outputs", self.output_dir, "name another output folder")
        if found.state == "failed":
            message = f"Unexpected error during worker initialization: {found.found}"
            raise InitializationFailed(message, hints=[found.remedy])

"""Workflow files: find, read and validate them. Some checks run in the worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dw.events import Check, Checked, Command, Event, Prepare

if TYPE_CHECKING:
    from dw.settings import Settings
    from dw.types import Permissions
    from dw.workflow import Document, ValidationResult


@dataclass(frozen=True, slots=True)
class WorkflowFiles:
    """Workflow files under these settings and permissions.

    `request` submits a command to the worker and returns its terminal event; `next_id` numbers it.
    """

    settings: Settings
    permissions: Permissions
    next_id: Callable[[], int]
    request: Callable[[Command], Event]

    def find(self, name: str) -> Path:
        """The file that a user means by `name`. Raises UsageError."""
        from dw.workflow import find_workflow

        return find_workflow(name, Path(self.settings.workflow_dir).expanduser())

    def read(self, path: Path) -> Document:
        """The workflow in the file at `path`. Raises WorkflowError with all problems of the file
        itself."""
        return self._validate_file(path).document_or_raise()

    def read_to_run(self, path: Path) -> Document:
        """Like `read`, but a wrong file is also compared with the installed classes, so that the
        error names all its problems. The run itself does that with a right one."""
        validation = self._validate_file(path)
        if any(each.severity == "error" for each in validation.problems):
            validation = self._with_installed_classes(validation)
        return validation.document_or_raise()

    def validate(self, path: Path) -> ValidationResult:
        """The workflow in a file, and its problems at every stage of validation."""
        return self._with_installed_classes(self._validate_file(path))

    def _validate_file(self, path: Path) -> ValidationResult:
        from dw.workflow import validate_file

        return validate_file(path, permissions=self.permissions, rehearse=self.settings.rehearse)

    def _with_installed_classes(self, validation: ValidationResult) -> ValidationResult:
        """Add the problems that the standby finds, which has the libraries imported."""
        if validation.document is None:
            return validation
        check = Check(
            self.next_id(),
            path=str(validation.path),
            text=validation.document.text,
            device=self.settings.device,
            rehearse=self.settings.rehearse,
            permissions=self.permissions,
        )
        checked = self.request(check)
        return validation.with_more(checked.problems if isinstance(checked, Checked) else ())


def prepare_command(run_id: int, document: Document, permissions: Permissions) -> Prepare:
    """The command that lets the standby import what a workflow needs, before its first run."""
    return Prepare(run_id, str(document.path.absolute()), document.text, permissions)

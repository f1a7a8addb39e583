"""The workflow document: loading, validating, binding arguments. Imports no torch or diffusers."""

from dw.workflow.diagnostics import Diagnostic
from dw.workflow.document import Document
from dw.workflow.find import find_workflow, workflow_names
from dw.workflow.format.model import Workflow
from dw.workflow.loading import (
    ValidationResult,
    load_document,
    parse_document,
    validate_file,
    validate_text,
)
from dw.workflow.paths import check_files

__all__ = [
    "Diagnostic",
    "Document",
    "ValidationResult",
    "Workflow",
    "check_files",
    "find_workflow",
    "load_document",
    "parse_document",
    "validate_file",
    "validate_text",
    "workflow_names",
]

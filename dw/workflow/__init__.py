"""The workflow document: loading, checking, binding to arguments. Imports no torch or diffusers."""

from dw.workflow.document import Document
from dw.workflow.find import find_workflow, workflow_names
from dw.workflow.loading import load_document, parse_document
from dw.workflow.model import Workflow
from dw.workflow.problem import Problem
from dw.workflow.world import check_world

__all__ = [
    "Document",
    "Problem",
    "Workflow",
    "check_world",
    "find_workflow",
    "load_document",
    "parse_document",
    "workflow_names",
]

"""The workflow document: loading, checking, binding to arguments. Imports no torch or diffusers."""

from dw.workflow.document import Document
from dw.workflow.find import find_workflow, workflow_names
from dw.workflow.format.model import Workflow
from dw.workflow.loading import Judged, judge_file, judge_text, load_document, parse_document
from dw.workflow.paths import check_world
from dw.workflow.problems import Problem

__all__ = [
    "Document",
    "Judged",
    "Problem",
    "Workflow",
    "check_world",
    "find_workflow",
    "judge_file",
    "judge_text",
    "load_document",
    "parse_document",
    "workflow_names",
]

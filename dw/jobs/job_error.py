"""The errors of jobs: what a service tells its clients of an error of dw."""

from __future__ import annotations

from dw.error_types import OF_KIND
from dw.errors import DwError, WorkflowError
from dw.jobs.job import JobError
from dw.workflow.inputs import InvalidInputs


def job_error(error: DwError) -> JobError:
    """The first problem is the answer where values do not fit. Where the files of a workflow lie is
    no concern of callers."""
    if isinstance(error, InvalidInputs):
        first = error.problems[0]
        return JobError(first.error_type, first.message, first.name)
    if isinstance(error, WorkflowError):
        message = "; ".join(problem.message for problem in error.problems) or error.message
        return JobError("workflow_invalid", message)
    return JobError(error.error_type or OF_KIND[error.kind], str(error))

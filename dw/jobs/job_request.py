"""Job requests: a workflow with its arguments, to be run some time by some worker."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dw.jobs import log_ids
from dw.jobs.request import draw_seed
from dw.jobs.workflow_arguments import OpenWorkflow


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What a caller asks for.

    `path` and `text` are the workflow's, `workflow` is its name. `group` is equal for jobs that
    need the same models. `drawn_seed` counts where neither the caller nor the workflow names one;
    it is kept, so that a second attempt gives the same results. Jobs of a higher `priority` are run
    first. `storage` is the URL that the results are copied to; empty: they stay in the folder of
    their run. With `is_awaited` a caller waits for the end: the job is not tried again when its
    worker died, and it ends with the server. With `is_kept` the files of its runs are the caller's,
    and stay when the job is forgotten. With `previews` somebody looks at what is being denoised; so
    many `partial_images` are made in any case. `traceparent` is the span that it belongs to, where
    requests are traced.
    """

    workflow: str
    path: str
    text: str
    group: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    drawn_seed: int = 0
    timeout_s: float | None = None
    priority: int = 0
    storage: str = ""
    request_id: str = ""
    is_awaited: bool = False
    is_kept: bool = False
    previews: bool = False
    partial_images: int = 0
    traceparent: str = ""

    @property
    def digest(self) -> str:
        """Equal for requests of the same work: SHA-256, in hex."""
        work = [
            *(self.workflow, self.text, dict(self.arguments), self.seed),
            *(self.timeout_s, self.priority, self.storage),
        ]
        return hashlib.sha256(json.dumps(work, sort_keys=True).encode()).hexdigest()


def job_request(
    workflow: OpenWorkflow,
    *,
    name: str = "",
    timeout_s: float | None = None,
    priority: int = 0,
    storage: str = "",
    request_id: str = "",
    is_awaited: bool = False,
    previews: bool = False,
    partial_images: int = 0,
) -> JobRequest:
    """The request to run a workflow with the arguments that are set for it. `name`: as the caller
    knows it; else its id."""
    seed = workflow.seed if isinstance(workflow.seed, int) else None
    return JobRequest(
        workflow=name or workflow.name,
        path=str(workflow.path.absolute()),
        text=workflow.document.text,
        group=_group(workflow),
        arguments=dict(workflow.overrides),
        seed=seed,
        drawn_seed=draw_seed(),
        timeout_s=timeout_s,
        priority=priority,
        storage=storage,
        request_id=request_id,
        is_awaited=is_awaited,
        previews=previews,
        partial_images=partial_images,
        traceparent=log_ids.traceparent.get(),
    )


def _group(workflow: OpenWorkflow) -> str:
    """Equal for runs that need the same models: the document, and the arguments that it uses
    elsewhere than among the arguments of a call."""
    deciding: Mapping[str, Any] = {
        name: workflow.overrides[name]
        for path, name in workflow.document.uses.items()
        if name in workflow.overrides
        and "arguments" not in path
        and path[0] not in ("seed", "timeout")
    }
    facts = json.dumps([workflow.document.text, deciding], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()[:16]

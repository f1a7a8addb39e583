"""Seeds: each pipeline step draws with the nearest one, `pipeline.seed` before `step.seed` before
the seed of what is around it, in the end the run's."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dw.errors import DwError
from dw.seeds import require_seed
from dw.workflow import Document, Workflow
from dw.workflow.format.model import Step
from dw.workflow.references import result_references


def own_seed(step: Step) -> int | None:
    """The seed that the step itself has."""
    if step.pipeline is not None and step.pipeline.seed is not None:
        return step.pipeline.seed
    return step.seed


def run_seed(
    document: Document,
    workflow: Workflow,
    *,
    typed: int | None,
    drawn: int,
    warn: Callable[[str], None],
) -> int:
    """The seed of a run: the one that the user typed, the workflow's, or else `drawn`. Raises
    UsageError for one out of range.

    When every step has a seed of its own, it is that of the first step; `warn` gets a message about
    a typed seed that has no effect.
    """
    if typed is not None:
        require_seed(typed)
    seeds = list(_seeds(document, workflow))
    named = [seed for _, seed in seeds if seed is not None]
    if named and len(named) == len(seeds):
        if typed is not None and set(named) != {typed}:
            steps = ", ".join(f"{name} {seed}" for name, seed in seeds)
            warn(f"seed {typed} has no effect: the workflow sets the seed of each step: {steps}")
        return named[0]
    return next(seed for seed in (typed, workflow.seed, drawn) if seed is not None)


def _seeds(
    document: Document, workflow: Workflow, around: int | None = None, prefix: str = ""
) -> Iterator[tuple[str, int | None]]:
    """Each pipeline step and its seed, as far as it is known before the run; None: the run's."""
    for step in workflow.steps:
        own = own_seed(step)
        seed, name = around if own is None else own, f"{prefix}{step.name}"
        if workflow.pipeline_of(step) is not None:
            yield name, seed
        elif step.workflow is not None:
            child = document.children[step.workflow.path]
            given = step.workflow.arguments
            known = {n: v for n, v in given.items() if not any(result_references(v))}
            try:
                bound = child.bind(known)
            except DwError:  # it may need the results
                yield name, None
            else:
                inner = seed if bound.seed is None else bound.seed
                yield from _seeds(child, bound, inner, f"{name}.")

"""A past run as an open workflow: its text as it was, its arguments and its seed, from its record
or from what a file of it tells.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dw.errors import UsageError
from dw.jobs.workflow_arguments import OpenWorkflow
from dw.redaction import TOKEN
from dw.run_folders import digest, kept_text
from dw.run_record import Past
from dw.text_files import NotUtf8, read_text

if TYPE_CHECKING:
    from dw.types import Permissions

_VARIABLE = re.compile(r"\$\{env\.(\w+)\}")


def workflow_of_run(
    run: Past,
    output_dir: Path,
    permissions: Permissions,
    secrets: dict[str, str],
    given: Mapping[str, Any],
) -> OpenWorkflow:
    """The workflow of a run with its arguments and seed, and `given` on top of them.

    `secrets` gets the values of the environment that the record does not hold, which are read
    again. Raises UsageError when the run's text was not kept, and WorkflowError.
    """
    from dw.workflow import parse_document

    facts = run.facts
    path = Path(facts.get("path", ""))
    text = _text(run, output_dir, str(facts.get("text_sha256")), path)
    texts = {
        name: _text(run, output_dir, sha, Path(name))
        for name, sha in facts.get("sub_workflows", {}).items()
    }
    document = parse_document(text, path, permissions=permissions, texts=texts)
    arguments = {n: v for n, v in facts.get("arguments", {}).items() if n not in given}
    hidden = set(facts.get("hidden", ()))
    return _opened(
        document,
        {name: _revealed(run, name, value, hidden, secrets) for name, value in arguments.items()},
        facts,
    )


def workflow_of_origin(
    facts: Mapping[str, Any], path: Path, file: Path, output_dir: Path, permissions: Permissions
) -> OpenWorkflow:
    """The workflow that a `file` of a run tells of. `path` names it, and relative paths resolve
    against it.

    Raises UsageError when its text is not in the file, which may be too small for it, and is not
    kept here either.
    """
    from dw.workflow import parse_document
    from dw.workflow.builtin import FOLDER, PREFIX

    text = facts.get("workflow")
    if not isinstance(text, str):
        text = kept_text(output_dir, str(facts.get("workflow_sha256")))
    if text is None:
        raise UsageError(
            f"{str(file)!r} has no place for its workflow, whose text is not kept here",
            hints=["load the workflow by its name, and this file again: it has the arguments"],
        )
    folder = Path(os.path.abspath(path.parent))
    texts = {
        str(FOLDER / name.removeprefix(PREFIX))
        if name.startswith(PREFIX)
        else os.path.normpath(folder / name): each
        for name, each in _mapping(facts.get("sub_workflows")).items()
    }
    document = parse_document(text, path, permissions=permissions, texts=texts)
    return _opened(document, _mapping(facts.get("arguments")), facts)


def _opened(document: Any, arguments: Mapping[str, Any], facts: Mapping[str, Any]) -> OpenWorkflow:
    workflow = OpenWorkflow(document, is_kept=True)
    workflow.set(arguments)
    seed = facts.get("seed")
    own = {step.get("seed", seed) for step in facts.get("steps", ())}
    # Where each step has a seed of its own, the run's has no effect.
    if not isinstance(seed, int) or not own <= {seed}:
        return workflow
    if not workflow.declares("seed"):
        workflow.seed = seed
    elif document.variables["seed"] is None and "seed" not in arguments:  # it was drawn
        workflow.set({"seed": seed})
    return workflow


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(run: Past, output_dir: Path, sha: str, path: Path) -> str:
    """The kept text, or that of the file if it is still the same."""
    if (text := kept_text(output_dir, sha)) is not None:
        return text
    try:
        now = read_text(path)
    except (OSError, NotUtf8):
        now = None
    if now is None or digest(now) != sha:
        raise UsageError(
            f"the text of run {run.number} is not kept, and {str(path)!r} is another one now",
            hints=[f"show {run.number}   shows its arguments"],
        )
    return now


def _revealed(run: Past, name: str, value: Any, hidden: set[Any], secrets: dict[str, str]) -> Any:
    """The argument with the values of the environment that it was given."""
    if isinstance(value, list):
        return [_revealed(run, name, each, hidden, secrets) for each in value]
    if isinstance(value, dict):
        return {n: _revealed(run, name, each, hidden, secrets) for n, each in value.items()}
    if not isinstance(value, str):
        return value
    if TOKEN in hidden and TOKEN in value:
        raise UsageError(
            f"the argument {name} of run {run.number} held a token, which is not kept",
            hints=[f"rerun {run.number} {name}=...   gives it again"],
        )

    def look_up(found: re.Match[str]) -> str:
        if found[0] not in hidden:
            return found[0]
        if (now := os.environ.get(found[1])) is None:
            raise UsageError(
                f"the argument {name} of run {run.number} came from {found[0]}, which is not set",
                hints=[f"rerun {run.number} {name}=...   gives another"],
            )
        secrets[now] = found[0]
        return now

    return _VARIABLE.sub(look_up, value)

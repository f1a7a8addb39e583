"""`load`, `reload`, `validate`: a workflow's file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dw.errors import UsageError, WorkflowError
from dw.jobs.past_run import workflow_of_origin, workflow_of_run
from dw.jobs.validation import prepare_command
from dw.jobs.workflow_arguments import OpenWorkflow
from dw.origins import ARGUMENTS, Origin, is_media, read_origin
from dw.repl import completion
from dw.repl.argument_table import with_allowed
from dw.repl.commands.registry import Call, Parameter, command
from dw.repl.lexer import quote
from dw.repl.session import Session
from dw.run_record import Past, find_past
from dw.short_text import as_text, in_one_line
from dw.terminal.messages import display_path
from dw.terminal.table import aligned, indented


@command(
    "load",
    "find a workflow, check it and show what it takes; loads no model yet",
    Parameter(
        "NAME",
        "a name in workflow_dir, a path, a past run's number, a picture",
        required=True,
        source=completion.workflows,
    ),
    Parameter("name=value", "arguments to set", kind="pairs", source=completion.arguments_of_named),
    example="load FluxDev num_inference_steps=20",
)
def load(session: Session, call: Call) -> None:
    if (workflow := _named(session, call.words[0], call.pairs)) is None:
        return
    workflow.set(call.pairs, session.last_seed)
    is_other = session.worker_workflow not in (None, workflow.path.resolve())
    if is_other and not session.background.jobs:  # those need its models
        session.stop_worker()
    former, session.open_workflow = session.open_workflow, workflow
    session.monitor.last_text = None
    if session.settings.standby:  # it imports what the workflow needs while the user types
        session.client.submit(
            prepare_command(session.client.next_id(), workflow.document, session.permissions)
        )
    _summarize(session, workflow)
    were_set = former.changed() if former else {}  # a load drops them, even one of the same file
    if reset := [name for name in were_set if name not in workflow.changed()]:
        were = "argument was" if len(reset) == 1 else "arguments were"
        session.renderer.status(f"{len(reset)} {were} reset: {', '.join(reset)}")
    _warn(session, workflow)


def _named(session: Session, name: str, given: Mapping[str, Any]) -> OpenWorkflow | None:
    """The workflow in a file, of a past run, or that a picture tells of; None where it tells of
    another program's settings."""
    path = Path(name).expanduser()
    if is_media(path):
        return _of_file(session, path)
    if run := _past_run(session, name):
        return workflow_of_run(
            run, session.output_dir, session.permissions, session.variables.secrets, given
        )
    return OpenWorkflow(session.files.read(session.files.find(name)))


def _past_run(session: Session, name: str) -> Past | None:
    """The run of that number or name, unless a workflow is called so."""
    if not re.fullmatch(r"(.*/)?[0-9]+", name):
        return None
    with suppress(UsageError):
        session.files.find(name)
        return None
    return find_past(session.output_dir, name)


def _of_file(session: Session, file: Path) -> OpenWorkflow | None:
    try:
        origin = read_origin(file)
    except FileNotFoundError:
        raise UsageError(f"there is no file {str(file)!r}") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {str(file)!r}: {error}") from None
    if origin is None:
        raise UsageError(
            f"{str(file)!r} does not tell how it was made",
            hints=["config metadata=on   has results tell it"],
        )
    if origin.program != "dw":
        _offer(session, file, origin)
        return None
    path = file.parent / f"{file.stem}.json"
    if isinstance(name := origin.facts.get("id"), str):
        path = file.parent / f"{name.replace('/', '_')}.json"
        with suppress(UsageError):
            path = session.files.find(name)
    return workflow_of_origin(origin.facts, path, file, session.output_dir, session.permissions)


def _offer(session: Session, file: Path, origin: Origin) -> None:
    """Say which arguments another program's settings are, and what is left."""
    workflow, rest = session.open_workflow, dict(origin.rest)
    pairs = []
    for name, value in origin.settings.items():
        known = [each for each in ARGUMENTS[name] if workflow is None or _takes(workflow, each)]
        if known:
            pairs.append(f"{known[0]}={quote(as_text(value))}")
        else:
            rest[name] = value
    session.renderer.status(f"{display_path(file)} was made by {origin.program}")
    if pairs:
        session.renderer.result(f"arg {' '.join(pairs)}")
    for name, value in rest.items():
        session.renderer.status(f"  not taken: {name} {in_one_line(value)}")
    if workflow is None:
        session.renderer.status("  load a workflow first; the line above then sets its arguments")


def _takes(workflow: OpenWorkflow, name: str) -> bool:
    return name == "seed" or workflow.declares(name)


@command("reload", "read the current file again", example="reload")
def reload(session: Session, _call: Call) -> None:
    workflow = session.workflow
    session.warn(workflow.update(session.files.read(workflow.path)))
    _summarize(session, workflow)
    _warn(session, workflow)


@command(
    "validate",
    "show every problem in the file at once, as file:line:column",
    Parameter("NAME", "another workflow than the current one", source=completion.workflows),
    example="validate FluxDev",
)
def validate(session: Session, call: Call) -> None:
    name = call.word
    path = session.files.find(name) if name else session.workflow.path
    problems = session.files.validate(path).problems
    for problem in problems:
        session.renderer.result(str(problem))
    if errors := [problem for problem in problems if problem.severity == "error"]:
        raise WorkflowError(f"{display_path(path)} has {len(errors)} error(s)")
    session.renderer.result(f"{display_path(path)} is valid")


def _warn(session: Session, workflow: OpenWorkflow) -> None:
    session.warn(f"{each.place}: {each.message}" for each in workflow.warnings())


def _summarize(session: Session, workflow: OpenWorkflow) -> None:
    """Show the workflow on one screen."""
    document, width = workflow.document, session.renderer.width
    title = f"{document.id}: {document.description}" if document.description else document.id
    session.renderer.status(title)
    kept = ", as it was in the run" if workflow.is_kept else ""
    session.renderer.status(f"  from {display_path(workflow.path)}{kept}")
    for step in document.data["steps"]:
        action = f"step {step['name']}: {_action(step, document.variables)}"
        for line in indented(action, width):
            session.renderer.status(line)
    arguments = workflow.arguments()
    rows = [(row.name, row.type, in_one_line(row.value)) for row in arguments]
    for line in aligned(*with_allowed(("argument", "type", "value"), rows, arguments), width):
        session.renderer.status(line)


def _action(step: Mapping[str, Any], variables: Mapping[str, Any]) -> str:
    """What a step does: the pipeline's class and its model, the task, or the other workflow."""
    if "task" in step:
        return f"task {step['task']['command']}"
    if "comfyui" in step:
        prompt = step["comfyui"]["prompt"]
        return f"comfyui {prompt if isinstance(prompt, str) else f'graph of {len(prompt)} nodes'}"
    if "workflow" in step:
        return f"workflow {step['workflow']['path']}"
    source = step["pipeline"].get("from_pretrained_arguments", {})
    model = str(source.get("model_name") or source.get("from_single_file") or "")
    if model.startswith("variable:"):
        model = str(variables.get(model.removeprefix("variable:"), model))
    kind = step["pipeline"]["configuration"]["component_type"]
    return f"{kind}, {model}" if model else str(kind)

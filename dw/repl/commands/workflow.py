"""`load`, `reload`, `validate`: a workflow's file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dw.errors import WorkflowError
from dw.jobs.validation import prepare_command
from dw.jobs.workflow_arguments import OpenWorkflow
from dw.repl import completion
from dw.repl.argument_table import with_allowed
from dw.repl.commands.registry import Call, Parameter, command
from dw.repl.session import Session
from dw.terminal.messages import display_path
from dw.terminal.table import aligned, in_one_line, indented


@command(
    "load",
    "find a workflow, check it and show what it takes; loads no model yet",
    Parameter(
        "NAME", "a name in workflow_dir or a path", required=True, source=completion.workflows
    ),
    Parameter("name=value", "arguments to set", kind="pairs", source=completion.arguments_of_named),
    example="load FluxDev num_inference_steps=20",
)
def load(session: Session, call: Call) -> None:
    workflow = OpenWorkflow(session.files.read(session.files.find(call.words[0])))
    workflow.set(call.pairs, session.last_seed)
    if session.worker_workflow is not None and session.worker_workflow != workflow.path.resolve():
        session.stop_worker()
    former, session.open_workflow = session.open_workflow, workflow
    if session.settings.standby:  # it imports what the workflow needs while the user types
        session.client.submit(
            prepare_command(session.client.next_id(), workflow.document, session.permissions)
        )
    _summarize(session, workflow)
    were_set = former.changed() if former else {}  # a load drops them, even one of the same file
    if reset := [name for name in were_set if name not in call.pairs]:
        were = "argument was" if len(reset) == 1 else "arguments were"
        session.renderer.status(f"{len(reset)} {were} reset: {', '.join(reset)}")
    _warn(session, workflow)


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
    session.renderer.status(f"  from {display_path(workflow.path)}")
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

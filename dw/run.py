"""`dw run WORKFLOW [name=value ...]`: run one workflow and exit.

The smallest program on the worker, and a model for others: jobs/ makes the request and says how it
ended, console/ shows what happens between.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dw.console.assignment import Assignment
from dw.console.options import ProgramOptions, add_program_options, program_options
from dw.console.program import Connect, Program, connect_worker, make_renderer
from dw.console.run_monitor import RunMonitor
from dw.console.run_sweep import run_each
from dw.console.sweep_record import RECORD
from dw.errors import EXIT_OK, AlreadyShown, DwError, Interrupted
from dw.jobs.request import next_run, run_request
from dw.jobs.sweep import plan_runs
from dw.jobs.validation import WorkflowFiles, prepare_command
from dw.jobs.wildcards import wildcards_of
from dw.jobs.workflow_arguments import OpenWorkflow
from dw.programs import program_parser
from dw.terminal.brief import Brief
from dw.terminal.capabilities import Terminal
from dw.terminal.remedies import PROGRAM, PROGRAM_WITH_TRACEBACKS

if TYPE_CHECKING:
    from dw.console.signals import Signals
    from dw.events import Finished
    from dw.jobs.worker import WorkerClient
    from dw.settings import Settings
    from dw.terminal.renderer import Renderer


@dataclass(frozen=True, slots=True)
class RunOptions:
    program: ProgramOptions
    workflow: str
    arguments: tuple[Assignment, ...]
    traceback: bool = False  # whether that of a failure follows it
    count: int | None = None  # of each run, by consecutive seeds


def main(argv: Sequence[str] | None = None, connect: Connect = connect_worker) -> int:
    options = run_options(argv)
    terminal = Terminal.here()
    renderer = make_renderer(
        options.program.output,
        terminal,
        PROGRAM_WITH_TRACEBACKS if options.traceback else PROGRAM,
        for_people=terminal.has_output,
    )
    return Program(options.program, renderer, connect).run(partial(_run, options, renderer))


def run_options(argv: Sequence[str] | None) -> RunOptions:
    """Exits with code 2 when the command line is wrong."""
    parser = program_parser("run")
    parser.add_argument("workflow", metavar="WORKFLOW", help="a name in workflow_dir or a path")
    parser.add_argument(
        "arguments", nargs="*", default=[], metavar="name=value", help="its arguments"
    )
    parser.add_argument(
        "--traceback", action="store_true", help="show the traceback of a failure on stderr"
    )
    parser.add_argument("-n", type=int, metavar="COUNT", help="so many, by consecutive seeds")
    add_program_options(parser)
    given = parser.parse_intermixed_args(argv)
    arguments = []
    for text in given.arguments:
        assignment = Assignment.parse(text)
        if assignment is None:
            parser.error(f"{text!r} is not name=value")
        arguments.append(assignment)
    return RunOptions(
        program_options(parser, given), given.workflow, tuple(arguments), given.traceback, given.n
    )


def _run(
    options: RunOptions,
    renderer: Renderer,
    client: WorkerClient,
    settings: Settings,
    signals: Signals,
) -> int:
    """Run it and report what went wrong. Returns the exit code. Raises Interrupted."""
    monitor = RunMonitor(client, renderer, signals=signals, is_script=True)
    try:
        _load_and_run(options, settings, monitor)
    except Interrupted as error:
        renderer.status(str(error))
        raise
    except AlreadyShown as error:
        return error.exit_code
    except DwError as error:
        renderer.error(error, trace=error.trace)
        if options.traceback and error.trace is not None:
            renderer.traceback(monitor.tracebacks.find(error.trace))
        return error.exit_code
    return EXIT_OK


def _load_and_run(options: RunOptions, settings: Settings, monitor: RunMonitor) -> None:
    client, renderer = monitor.client, monitor.renderer
    permissions = options.program.permissions(settings)
    files = WorkflowFiles(settings, permissions, client.next_id, monitor.request)
    workflow = OpenWorkflow(files.read(files.find(options.workflow)))
    if settings.standby:
        client.submit(prepare_command(client.next_id(), workflow.document, permissions))
    for warning in workflow.warnings():
        renderer.warning(f"{warning.place}: {warning.message}")

    def execute(arguments: Mapping[str, Any], drawn_seed: int) -> Finished:
        request = run_request(
            workflow.with_arguments(arguments),
            settings,
            permissions,
            run_id=next_run(client, settings),
            timeout_s=options.program.timeout_s,
            drawn_seed=drawn_seed,
            preview_s=settings.preview_s(shows=renderer.shows_previews(settings.images)),
        )
        return monitor.run(request)

    given = [(each.name, each.value()) for each in options.arguments]
    runs = plan_runs(workflow, given, count=options.count, wildcards=wildcards_of(settings))
    brief = Brief() if settings.report == "brief" else None
    with monitor.briefly(brief):
        run_each(
            workflow,
            runs,
            execute,
            monitor,
            images=settings.images,
            record=Path(settings.output_dir).expanduser().absolute() / RECORD,
            rehearse=settings.rehearse,
        )


if __name__ == "__main__":
    sys.exit(main())

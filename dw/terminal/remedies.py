"""Remedies in words: each program offers its own commands and options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from dw import errors
from dw.errors import Hint, Remedy

# The words of the shell, and those of programs with a command line only. The braces hold fields of
# the remedy. An empty text: the program has no such remedy.
_TRUST = "run with --trust if {0.provided}"
_CHECK = "check the name, the network and, for a private model, `hf auth login`"
_LOGIN = "hf auth login   signs this machine in"
_INSTALL = "{0.command}   {0.effect}"
_WORDS: Mapping[type[Remedy], tuple[str, str]] = {
    errors.TrustWorkflow: (_TRUST, _TRUST),
    errors.SetOutputDir: (
        "config output_dir=... writes elsewhere",
        "DW_OUTPUT_DIR=... writes elsewhere",
    ),
    errors.SetWorkflowDir: (
        "config workflow_dir=FOLDER   sets another",
        "DW_WORKFLOW_DIR=FOLDER   sets another",
    ),
    errors.ListWorkflows: ("Tab after load lists them", ""),
    errors.LoadPath: ("load {0.path}", "name it by its path: {0.path}"),
    errors.LoadAnyPath: ("load PATH   loads a file from anywhere", "a path names any file"),
    errors.ListArguments: ("arg   lists the arguments", "its arguments are {0.listed}"),
    errors.ListSettings: ("config   lists the settings", "dw -c config   lists the settings"),
    errors.ListRuns: ("history   lists the runs", "dw -c history   lists the runs"),
    errors.SetWildcards: (
        "config wildcards=FOLDER   names their folder; config wildcards= turns them off",
        "DW_WILDCARDS=FOLDER   names their folder; DW_WILDCARDS= turns them off",
    ),
    errors.Rehearse: (
        "config rehearse=on   runs the workflow on a tiny stand-in",
        "--rehearse   runs the workflow on a tiny stand-in",
    ),
    errors.UseRealModels: (
        "config rehearse=off   runs it on the real models",
        "without --rehearse it runs on the real models",
    ),
    errors.CheckModelName: (_CHECK, _CHECK),
    errors.LoginToHub: (_LOGIN, _LOGIN),
    errors.Install: (_INSTALL, _INSTALL),
    errors.RaiseTimeout: ("retry --timeout {0.seconds:g}", "--timeout {0.seconds:g}"),
    errors.SetTimeout: (
        "config timeout=SECONDS   for every run",
        "DW_TIMEOUT=SECONDS   for every run",
    ),
    errors.RaiseStall: ("config stall=SECONDS   waits longer", "DW_STALL=SECONDS   waits longer"),
    errors.RetryRun: (
        "retry   repeats the last run, on a new worker",
        "the next run has a new worker",
    ),
    errors.Restart: ("exit", ""),
    errors.ShowMemory: ("memory   shows what fills it", ""),
    errors.ShowTraceback: ("trace   shows its last lines", "--traceback   shows its last lines"),
}


@dataclass(frozen=True)
class Wording:
    """The words of one program for what a user can do next.

    `full_trace` says where the traceback with a number is; it is empty where tracebacks are shown
    with their errors.
    """

    remedies: Mapping[type[Remedy], str]
    full_trace: str

    def hints(self, hints: Iterable[Hint]) -> tuple[str, ...]:
        """The hints as texts, in their order."""
        texts = (
            hint if isinstance(hint, str) else self.remedies[type(hint)].format(hint).rstrip()
            for hint in hints
        )
        return tuple(text for text in texts if text)


SHELL = Wording({each: shell for each, (shell, _) in _WORDS.items()}, "full trace: trace{}")
PROGRAM = Wording({each: words for each, (_, words) in _WORDS.items()}, "full trace: --traceback")
PROGRAM_WITH_TRACEBACKS = replace(PROGRAM, full_trace="")

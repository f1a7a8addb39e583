"""Watching: follow the files of a workflow, and tell what changes or run at each change."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from dw.console.checkpoints import Checkpoints
from dw.console.run_sweep import save_strip
from dw.console.sweep_record import Done
from dw.console.watched_files import Content, WatchedFiles
from dw.console.workflow_changes import change_line, files_of
from dw.errors import AlreadyShown, DwError, Interrupted, UsageError
from dw.events import Finished
from dw.jobs.request import draw_seed
from dw.jobs.sweep import PlannedRun
from dw.jobs.workflow_arguments import OpenWorkflow
from dw.redaction import redacted_text
from dw.repl.commands.registry import Call
from dw.repl.commands.run import executing, planned, run_planned, timeout_of
from dw.repl.session import Session
from dw.terminal.brief import Brief
from dw.terminal.messages import display_path

RUN = "run"


class Watch:
    """One `watch`, until a signal."""

    def __init__(self, session: Session, call: Call, files: WatchedFiles) -> None:
        self._session, self._call, self._files = session, call, files
        self._runs = call.word == RUN
        self._timeout_s = timeout_of(call)
        self._checkpoints = Checkpoints.among(call.given)
        self._drawn_seed = draw_seed()  # one for all, so that their images differ by the change
        self._strip: list[tuple[Done, str]] = []
        self._seen: OpenWorkflow = OpenWorkflow(
            session.workflow.document, dict(session.workflow.overrides), session.workflow.seed
        )

    def run(self) -> None:
        """Raises UsageError for arguments that do not fit, and Interrupted."""
        renderer = self._session.renderer
        if self._runs:
            self._planned(self._bound(Path("checkpoint")))
        self._follow()
        for place, kind in self._files.unseen().items():
            renderer.status(f"{display_path(place)} is on {kind}: it is looked at each second")
        renderer.status(f"Watching {self._named()}; Ctrl-C ends it")
        content = self._files.content()
        if self._runs:
            self._first(content)
        while (now := self._files.changed(content)) is not None:
            before, content = content, {**content, **now}
            try:
                line = self._change(before, content)
            except DwError as error:
                self._report(error)
                continue
            content = {**self._files.content(), **content}  # of files that are new to the workflow
            self._take(line, before, content)
        raise Interrupted("no longer watching")

    def _first(self, content: Content) -> None:
        if self._checkpoints is None:
            self._attempt(None, "")
        elif found := self._checkpoints.new({}, content):
            self._attempt(found[-1], self._checkpoints.title(found[-1]))
        else:
            self._session.renderer.status(
                f"Waiting for a checkpoint in {display_path(self._checkpoints.folder)}"
            )

    def _take(self, line: str, before: Content, after: Content) -> None:
        """Tell a change, or run."""
        checkpoints = self._checkpoints
        if not self._runs:
            self._session.renderer.result(line)
        elif checkpoints is None:
            self._session.renderer.status(line)
            self._attempt(None, "")
        else:
            fresh = checkpoints.new(before, after)
            folder = checkpoints.folder.absolute()
            others = [p for p, digest in after.items() if before.get(p) != digest]
            if not fresh and not all(path.is_relative_to(folder) for path in others):
                self._session.renderer.status(line)
                fresh = checkpoints.files()[-1:]
            for path in fresh:
                self._attempt(path, checkpoints.title(path))

    def _change(self, before: Content, after: Content) -> str:
        """The line of a change. Reads the workflow again. Raises DwError."""
        session = self._session
        old = self._seen
        session.warn(session.workflow.update(session.files.read_to_run(session.workflow.path)))
        self._follow()
        new = session.workflow
        self._seen = OpenWorkflow(new.document, dict(new.overrides), new.seed)
        return change_line(before, after, old, self._seen)

    def _attempt(self, checkpoint: Path | None, title: str) -> None:
        """Run, and show what goes wrong: the next change may mend it. Raises Interrupted."""
        try:
            self._execute(checkpoint, title)
        except Interrupted:
            raise
        except AlreadyShown:
            return
        except DwError as error:
            self._report(error)

    def _execute(self, checkpoint: Path | None, title: str) -> None:
        session = self._session
        workflow = session.workflow
        runs = self._planned(self._bound(checkpoint))
        execute = executing(session, workflow, self._timeout_s)

        def one(arguments: Mapping[str, Any], drawn_seed: int) -> Finished:
            finished = execute(arguments, drawn_seed)
            if checkpoint is not None and self._checkpoints is not None:
                self._strip.append((Done.of(finished), self._checkpoints.title(checkpoint)))
            return finished

        run_planned(session, workflow, runs, one, brief=Brief(title))
        if self._checkpoints is not None:
            self._save_strip()

    def _planned(self, call: Call) -> tuple[PlannedRun, ...]:
        return planned(self._session, self._session.workflow, call, self._drawn_seed)

    def _bound(self, checkpoint: Path | None) -> Call:
        """The call with this checkpoint in the place of their folder."""
        if checkpoint is None or self._checkpoints is None:
            return self._call
        name = self._checkpoints.name
        given = [(n, str(checkpoint) if n == name else v) for n, v in self._call.given]
        return self._call.with_given(given)

    def _save_strip(self) -> None:
        """One picture with those of all checkpoints so far."""
        session = self._session
        if path := save_strip(self._strip):
            session.renderer.result(display_path(path))
            session.renderer.image(path, session.settings.images)

    def _report(self, error: DwError) -> None:
        session = self._session
        error.message = redacted_text(error.message, session.variables.secrets)
        session.renderer.error(error, trace=error.trace)

    def _follow(self) -> None:
        session = self._session
        given = dict(self._call.given)
        if self._checkpoints is not None:
            given.pop(self._checkpoints.name)
        plain = {name: value for name, value in given.items() if isinstance(value, str)}
        workflow = session.workflow
        with suppress(UsageError):  # a sweep, whose values are several
            workflow = workflow.with_arguments(plain, session.last_seed)
        folders = [self._checkpoints.folder] if self._checkpoints else []
        self._files.follow([*sorted(files_of(workflow)), *folders])

    def _named(self) -> str:
        folder = self._checkpoints.folder if self._checkpoints else None
        return display_path(folder or self._session.workflow.path)

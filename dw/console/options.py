"""The options that the programs at a terminal share."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from typing import Any

from dw.errors import UsageError
from dw.settings import Settings, parse_seconds
from dw.terminal.capabilities import ColorChoice
from dw.types import Permissions


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """The format of a program's output, and how much it shows."""

    json: bool = False
    plain: bool = False
    quiet: bool = False
    echo: bool = False
    color: ColorChoice = "auto"


@dataclass(frozen=True, slots=True)
class ProgramOptions:
    """`settings` are pairs of a name and its text, which replace the user's settings."""

    output: OutputOptions = OutputOptions()
    settings: tuple[tuple[str, str], ...] = ()
    trust: bool = False
    yes: bool = False

    def apply(self, settings: Settings) -> Settings:
        """The settings, overridden by the command line. Raises UsageError."""
        for name, text in self.settings:
            settings = settings.changed(name, text)
        return settings

    @property
    def timeout_s(self) -> float | None:
        """How long a run may execute; None without `--timeout`."""
        texts = [text for name, text in self.settings if name == "timeout"]
        return parse_seconds("timeout", texts[-1]) if texts else None

    def permissions(self, settings: Settings) -> Permissions:
        """What the settings and `--trust` allow a workflow to do."""
        permissions = settings.permissions
        return replace(permissions, trust=True) if self.trust else permissions


def add_program_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="events as JSON lines on stdout")
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="only results, warnings and errors"
    )
    parser.add_argument("--yes", action="store_true", help="answer every question with yes")
    parser.add_argument("--timeout", metavar="SECONDS", help="how long a run may execute")
    parser.add_argument("--device", metavar="DEVICE", help="auto, cuda, cuda:N, mps or cpu")
    parser.add_argument(
        "--server", metavar="URL", help="run on the workers of a dw serve, with its loaded models"
    )
    parser.add_argument(
        "--previews", metavar="WHEN", help="of what is being denoised: auto, on, off or SECONDS"
    )
    parser.add_argument(
        "--rehearse", action="store_true", help="tiny stand-ins for the real models"
    )
    parser.add_argument("--trust", action="store_true", help="allow code and paths from anywhere")
    parser.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="whether messages have colours",
    )
    parser.add_argument("--plain", action="store_true", help="lines only, nothing that moves")


def program_options(parser: argparse.ArgumentParser, given: Any) -> ProgramOptions:
    """The shared options of a parsed command line. Exits with code 2 for a bad value."""
    settings = [
        (name, str(getattr(given, name)))
        for name in ("timeout", "device", "server", "previews")
        if getattr(given, name)
    ]
    settings += [("rehearse", "on")] if given.rehearse else []
    echo = getattr(given, "echo", False)
    options = ProgramOptions(
        OutputOptions(given.json, given.plain, given.quiet, echo, given.color),
        tuple(settings),
        trust=given.trust,
        yes=given.yes,
    )
    try:
        options.apply(Settings())
    except UsageError as error:
        parser.error(error.message)
    return options

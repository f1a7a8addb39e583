"""`config`: the settings of this session and of the next ones."""

from __future__ import annotations

from dataclasses import fields

from dw.errors import UsageError
from dw.repl import completion
from dw.repl.commands.registry import Call, Parameter, command
from dw.repl.session import Session
from dw.settings import Settings, check_setting, config_file, save_setting
from dw.short_text import as_text


@command(
    "config",
    "show or change settings; -s keeps them for the next sessions",
    Parameter("name=value", "change these, all or none", kind="pairs", source=completion.settings),
    Parameter(
        "NAME",
        "show, or with -s keep, only these",
        many=True,
    ),
    Parameter("-s", "keep what was changed in the config file", kind="flag"),
    example="config timeout=600 -s",
)
def config(session: Session, call: Call) -> None:
    settings = session.settings
    for name, value in call.pairs.items():
        settings = settings.changed(name, _text(value))
    if call.pairs:
        session.configure(settings)
        session.configured.update(dict.fromkeys(call.pairs))
    if not session.options.is_script:
        for name in call.pairs:
            session.renderer.status(f"{name} = {_text(getattr(settings, name))}")
    if "-s" in call.flags:
        _keep(session, [*call.pairs, *call.words] or [*session.configured])
    elif not call.pairs:
        _show(session, call.words)


def _keep(session: Session, names: list[str]) -> None:
    """Write them to the config file. Options of the command line are for one session only."""
    if not names:
        raise UsageError(
            "nothing to keep: no setting was changed in this session",
            hints=["config NAME=VALUE -s   changes one and keeps it"],
        )
    for name in names:
        check_setting(name)
    for name in names:
        save_setting(name, getattr(session.settings, name))
    session.renderer.status(f"kept {', '.join(names)} in {config_file()}")


def _show(session: Session, names: tuple[str, ...]) -> None:
    for name in names:
        check_setting(name)
    docs = {field.name: field.metadata["doc"] for field in fields(Settings)}
    values = {name: _text(getattr(session.settings, name)) for name in names or docs}
    rows = [(name, value, docs[name]) for name, value in values.items()]
    session.renderer.table(("setting", "value", "meaning"), rows)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else as_text(value)

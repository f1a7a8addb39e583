"""`config`: the settings of this session and of the next ones."""

from __future__ import annotations

from dataclasses import fields

from dw.errors import UsageError, did_you_mean
from dw.repl import candidates
from dw.repl.registry import Call, Parameter, command
from dw.repl.session import Session
from dw.repl.table import as_text
from dw.settings import Settings, config_file, save_setting


@command(
    "config",
    "show or change settings; -s keeps them for the next sessions",
    Parameter("name=value", "change these, all or none", kind="pairs", source=candidates.settings),
    Parameter(
        "NAME",
        "show only these",
        many=True,
    ),
    Parameter("-s", "keep them in the config file", kind="flag"),
    example="config timeout=600 -s",
)
def config(session: Session, call: Call) -> None:
    settings = session.settings
    for name, value in call.pairs.items():
        settings = settings.changed(name, _text(value))
    if call.pairs:
        session.configure(settings)
    if "-s" in call.flags:
        for name in call.pairs or Settings.names():
            save_setting(name, getattr(settings, name))
        session.renderer.status(f"kept in {config_file()}")
    if not call.pairs and not call.flags:
        _show(session, call.words)


def _show(session: Session, names: tuple[str, ...]) -> None:
    docs = {field.name: field.metadata["doc"] for field in fields(Settings)}
    for name in names:
        if name not in docs:
            nearest = did_you_mean(name, docs)
            raise UsageError(
                f"there is no setting {name!r}{nearest}", hints=["config   lists them"]
            )
    values = {name: _text(getattr(session.settings, name)) for name in names or docs}
    rows = [(name, value, docs[name]) for name, value in values.items()]
    session.renderer.table(("setting", "value", "meaning"), rows)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else as_text(value)

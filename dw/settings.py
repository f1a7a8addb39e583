"""Settings: one frozen dataclass, read from the config file and the environment (`DW_*`)."""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from platformdirs import user_cache_path, user_config_path, user_log_path

from dw.atomic_files import replace_file
from dw.errors import ListSettings, UsageError, did_you_mean
from dw.refusals import cannot, cures
from dw.text_files import NotUtf8, read_text
from dw.types import Permissions

PREVIEW_S = 1.0
"""Between two previews, at least."""

PREVIEW_WORDS = ("auto", "on", "off")
"""Values of `previews`, beside a number of seconds."""

_SECONDS_OR = {"previews": PREVIEW_WORDS, "bell": ("off",)}
"""Settings that are a number of seconds or one of these words."""


def _setting(default: Any, doc: str) -> Any:
    return field(default=default, metadata={"doc": doc})


@dataclass(frozen=True, slots=True)
class Settings:
    workflow_dir: str = _setting(
        "examples", "where workflows are looked for by name, with its sub-folders"
    )
    output_dir: str = _setting("outputs", "each run writes into its own folder below this one")
    timeout: float = _setting(
        300.0, "seconds that a run may execute; loading and downloading do not count"
    )
    stall: float = _setting(600.0, "seconds that a load or download may take without any progress")
    grace: float = _setting(
        10.0, "seconds that a cancelled run has to stop before its worker is killed"
    )
    device: str = _setting("auto", "auto, cuda, cuda:N, mps or cpu")
    rehearse: bool = _setting(
        False, "run on tiny stand-ins with random weights instead of the real models"
    )
    standby: bool = _setting(
        True, "keep a second process with its imports done (about 500 MB of host memory)"
    )
    server: str = _setting(
        "", "URL of a `dw serve` whose workers run everything; empty: a worker of one's own"
    )
    trust: bool = _setting(
        False, "let every workflow use code of any package, pickles and files from anywhere"
    )
    allowed_dirs: str = _setting(
        "", f"further folders that a workflow may name files in, separated by {os.pathsep!r}"
    )
    comfyui: str = _setting(
        "", "URL of the ComfyUI server of steps that name none; it may be in this network"
    )
    images: Literal["auto", "off", "kitty", "iterm2", "sixel", "blocks"] = _setting(
        "auto", "how a terminal shows images; auto decides by its name"
    )
    report: Literal["full", "brief"] = _setting(
        "full", "what is told of a run that goes well; brief: one line, as in sweeps"
    )
    bell: str = _setting(
        "10", "ring the terminal's bell after a run that took so many seconds, or off"
    )
    wildcards: str = _setting(
        "wildcards",
        "folder of the files of __NAME__ in prompts; empty: no wildcards, and {a|b} is literal",
    )
    metadata: bool = _setting(
        True, "write into each picture and video how it was made: workflow, arguments, seed"
    )
    previews: str = _setting(
        "auto",
        "previews of what is being denoised: off, on, SECONDS between two, or auto: on where the "
        "program shows them",
    )
    log_level: Literal["debug", "info", "warning", "error"] = _setting(
        "warning", "log level of libraries in the worker"
    )

    @classmethod
    def names(cls) -> tuple[str, ...]:
        return tuple(f.name for f in fields(cls))

    def preview_s(self, *, shows: bool | None) -> float | None:
        """Seconds between two previews, None for none. `shows`: the program shows them itself, and
        needs not be asked to; None: it cannot even pass them on."""
        if shows is None or self.previews == "off" or (self.previews == "auto" and not shows):
            return None
        return PREVIEW_S if self.previews in PREVIEW_WORDS else float(self.previews)

    @property
    def permissions(self) -> Permissions:
        """The permissions of a workflow by these settings; it may also read earlier outputs."""
        named = (*self.allowed_dirs.split(os.pathsep), self.output_dir)
        folders = tuple(Path(name).expanduser().absolute() for name in named if name)
        return Permissions(self.trust, folders, self.comfyui)

    def changed(self, name: str, text: str) -> Settings:
        """A copy with one setting parsed from a text.

        Raises UsageError for an unknown name or a value of the wrong type.
        """
        check_setting(name)
        return replace(self, **{name: _parse(name, text)})


def config_file() -> Path:
    return user_config_path("dw", appauthor=False) / "config.toml"


def cache_dir() -> Path:
    return user_cache_path("dw", appauthor=False)


def log_dir() -> Path:
    return user_log_path("dw", appauthor=False)


def load_settings() -> Settings:
    """The defaults, overridden by the config file and then by the environment (`DW_TIMEOUT=60`).

    Raises UsageError, with the file or variable in `where`.
    """
    settings = Settings()
    path = config_file()
    for name, value in _read(path).items():
        try:
            settings = settings.changed(
                name, value if isinstance(value, str) else json.dumps(value)
            )
        except UsageError as error:
            error.where = str(path)
            raise
    for name in Settings.names():
        if (text := os.environ.get(f"DW_{name.upper()}")) is not None:
            try:
                settings = settings.changed(name, text)
            except UsageError as error:
                error.where = f"DW_{name.upper()}"
                raise
    return settings


def save_setting(name: str, value: object) -> Path:
    """Write one setting to the config file, whose comments and other values stay.

    Raises UsageError when the file is not TOML and RunFailed when it cannot be written, and leaves
    it as it is.
    """
    check_setting(name)
    import tomlkit  # used here only; the prompt starts without it

    path = config_file().resolve()  # a symbolic link stays one
    _read(path)
    document = tomlkit.parse(read_text(path)) if path.exists() else tomlkit.document()
    document[name] = value
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, tomlkit.dumps(document).encode())
    except OSError as error:  # as in a home folder that is mounted read-only
        hints = cures(error, of_limits=True) or ("XDG_CONFIG_HOME=FOLDER   names another folder",)
        raise cannot(f"write {path}", error, *hints) from error
    return path


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except NotUtf8 as error:
        hints = ["repair or remove the file"]
        raise UsageError(str(error), where=error.where(path), hints=hints) from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            f"not valid TOML: {error}", where=str(path), hints=["repair or remove the file"]
        ) from None


def parse_seconds(name: str, text: str) -> float:
    """The seconds that a user typed for `name`. Raises UsageError."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"{name} must be a number of seconds above 0, got {text!r}")
    return seconds


def check_setting(name: str) -> None:
    """Raises UsageError for an unknown name."""
    if name not in Settings.names():
        raise UsageError(
            f"unknown setting {name!r}{did_you_mean(name, Settings.names())}",
            hints=[ListSettings()],
        )


def _parse(name: str, text: str) -> Any:
    if name in _SECONDS_OR:
        return _parse_seconds_or(name, text)
    kind = get_type_hints(Settings)[name]
    if choices := get_args(kind):
        if text in choices:
            return text
        raise UsageError(
            f"{name} must be one of {', '.join(choices)}, got {text!r}{did_you_mean(text, choices)}"
        )
    if kind is bool:
        if (word := text.lower()) in {"true", "on", "yes", "1", "false", "off", "no", "0"}:
            return word in {"true", "on", "yes", "1"}
        raise UsageError(f"{name} must be on or off, got {text!r}")
    return parse_seconds(name, text) if kind is float else text


def _parse_seconds_or(name: str, text: str) -> str:
    """One of the setting's words, or a number of seconds."""
    words = _SECONDS_OR[name]
    word = {"true": "on", "yes": "on", "false": "off", "no": "off"}.get(text.lower(), text.lower())
    if word in words:
        return word
    try:
        return f"{parse_seconds(name, text):g}"
    except UsageError:
        raise UsageError(
            f"{name} must be {', '.join(words)} or a number of seconds above 0, got {text!r}"
            f"{did_you_mean(text, words)}"
        ) from None

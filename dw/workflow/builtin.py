"""Built-ins: workflows (`"path": "builtin:NAME.json"`, `load NAME`) and models
(`"model_name": "builtin:NAME"`) that come with dw.
"""

from __future__ import annotations

from pathlib import Path

import dw
from dw.errors import WorkflowError, did_you_mean

PREFIX = "builtin:"
FOLDER = Path(dw.__file__).parent / "builtin"
MODELS = FOLDER / "models"


def builtin_names() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


def builtin_path(name: str) -> Path | None:
    """The file of the workflow `NAME` or `NAME.json`; None when dw has no such workflow."""
    stem = name.removesuffix(".json")
    return FOLDER / f"{stem}.json" if stem in builtin_names() else None


def require_builtin(reference: str) -> Path:
    """The file of `builtin:NAME.json`. Raises WorkflowError when it does not exist."""
    name = reference.removeprefix(PREFIX)
    if (path := builtin_path(name)) is not None:
        return path
    known = builtin_names()
    hint = did_you_mean(name.removesuffix(".json"), known) or f"; known are {', '.join(known)}"
    raise WorkflowError(f"unknown built-in workflow {name!r}{hint}")


def is_builtin(name: str) -> bool:
    return name.startswith(PREFIX)


def model_names() -> tuple[str, ...]:
    return tuple(sorted(path.name for path in MODELS.iterdir() if path.is_dir()))


def unknown_model(reference: str) -> str | None:
    """The error for `builtin:NAME` when no such model exists."""
    name = reference.removeprefix(PREFIX)
    if name in (known := model_names()):
        return None
    hint = did_you_mean(name, known) or f"; known are {', '.join(known)}"
    return f"unknown built-in model {name!r}{hint}"


def require_model(reference: str) -> Path:
    """The folder of `builtin:NAME`. Raises WorkflowError when it does not exist."""
    if (message := unknown_model(reference)) is not None:
        raise WorkflowError(message)
    return MODELS / reference.removeprefix(PREFIX)

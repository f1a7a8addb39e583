"""The workflows that come with dw, for `"path": "builtin:NAME.json"` and for `load NAME`."""

from __future__ import annotations

from pathlib import Path

import dw
from dw.errors import WorkflowError, did_you_mean

PREFIX = "builtin:"
FOLDER = Path(dw.__file__).parent / "builtin"


def builtin_names() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


def builtin_path(name: str) -> Path | None:
    """The file of the workflow `NAME` or `NAME.json`; None when dw has no such workflow."""
    stem = name.removesuffix(".json")
    return FOLDER / f"{stem}.json" if stem in builtin_names() else None


def require_builtin(reference: str) -> Path:
    """The file that `builtin:NAME.json` means. Raises WorkflowError."""
    name = reference.removeprefix(PREFIX)
    if (path := builtin_path(name)) is not None:
        return path
    known = builtin_names()
    hint = did_you_mean(name.removesuffix(".json"), known) or f"; there are {', '.join(known)}"
    raise WorkflowError(f"there is no built-in workflow {name!r}{hint}")

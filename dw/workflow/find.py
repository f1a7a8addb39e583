"""Workflow files: found by the name that a user types, or all of a folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterator
from pathlib import Path

from dw import run_record
from dw.errors import (
    Hint,
    ListWorkflows,
    LoadAnyPath,
    LoadPath,
    SetWorkflowDir,
    UsageError,
    did_you_mean,
)
from dw.refusals import reason
from dw.workflow.builtin import builtin_names, builtin_path

SUFFIX = ".json"
MOST_NAMES = 12  # in a message
_SKIPPED = frozenset({"node_modules", "__pycache__"})
_MODEL = "model_index.json"  # of a folder that diffusers saved


def find_workflow(name: str, workflow_dir: Path) -> Path:
    """The file that `NAME`, `NAME.json` or a path means.

    It is looked up here, below `workflow_dir`, where the file nearest to the top wins, and among
    the built-in workflows. Raises UsageError when there is none, or two at one depth.
    """
    typed = os.path.expanduser(name)
    for candidate in (typed, typed + SUFFIX):
        for place in (Path(candidate), workflow_dir / candidate):
            if place.suffix == SUFFIX and os.path.isfile(place):
                return place
    if os.path.isfile(typed):
        raise UsageError(f"{name!r} is not a workflow: its name does not end in {SUFFIX}")
    return _find_below(name, workflow_dir)


def workflow_names(workflow_dir: Path) -> tuple[str, ...]:
    """The names that `find_workflow` finds below `workflow_dir`, sorted."""
    return tuple(sorted({path.stem for path in workflows_below(workflow_dir)}, key=str.lower))


def _find_below(name: str, workflow_dir: Path) -> Path:
    wanted = name.removesuffix(SUFFIX)
    found = [path for path in workflows_below(workflow_dir) if path.stem == wanted]
    if not found:  # a name that is typed in another case
        found = [p for p in workflows_below(workflow_dir) if p.stem.lower() == wanted.lower()]
        found = found if len({path.stem for path in found}) == 1 else []
    if not found and (builtin := builtin_path(wanted)) is not None:
        return builtin
    if not found:
        Path.cwd()  # a folder that was deleted explains it better
        names = workflow_names(workflow_dir)
        raise UsageError(
            f"unknown workflow {name!r}{did_you_mean(wanted, (*names, *builtin_names()))}",
            hints=[
                *_known(names, workflow_dir),
                f"built in: {', '.join(builtin_names())}",
                LoadAnyPath(),
            ],
        )
    top = min(len(path.parts) for path in found)
    nearest = sorted(path for path in found if len(path.parts) == top)
    if len(nearest) > 1:
        both = " and ".join(map(str, nearest))
        raise UsageError(f"{name!r} could be {both}", hints=[LoadPath(str(nearest[0]))])
    return nearest[0]


def _known(names: tuple[str, ...], workflow_dir: Path) -> Iterator[Hint]:
    if not workflow_dir.is_dir():
        yield f"folder {str(workflow_dir)!r} does not exist"
        yield SetWorkflowDir()
    elif not names:
        yield f"no workflows in {str(workflow_dir)!r}"
    elif len(names) <= MOST_NAMES:
        yield f"in {str(workflow_dir)!r}: {', '.join(names)}"
    else:
        yield f"there are {len(names)} workflows in {str(workflow_dir)!r}"
        yield ListWorkflows()


def workflow_files(name: str, workflow_dir: Path, output_dir: Path) -> Iterator[Path]:
    """The file that `name` means, or the workflows below the folder of that name.

    Results in `output_dir`, and those of other runs, are no workflows. Raises UsageError.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        refused: list[OSError] = []
        yield from workflows_below(folder, besides=output_dir, refused=refused.append)
        for error in refused:
            raise UsageError(f"cannot read {str(error.filename)!r}: {reason(error)}")
    else:
        yield find_workflow(name, workflow_dir)


def workflows_below(
    folder: Path, besides: Path | None = None, refused: Callable[[OSError], None] | None = None
) -> Iterator[Path]:
    """The workflow files in a folder and its sub-folders.

    Passes over hidden folders, models, whose configurations are JSON, the results of runs, which
    have a copy of their workflow, and the folder `besides`. `refused` is called for a folder that
    cannot be read.
    """
    for root, folders, files in os.walk(folder, onerror=refused):
        path = Path(root)
        if _MODEL in files or (path != folder and _holds_results(path, files, besides)):
            folders.clear()
            continue
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name not in _SKIPPED
        )
        yield from (path / name for name in sorted(files) if name.endswith(SUFFIX))


def _holds_results(folder: Path, files: Container[str], output_dir: Path | None) -> bool:
    if output_dir is not None and folder.resolve() == output_dir.resolve():
        return True
    if run_record.RECORD not in files:
        return False
    try:
        run_record.read(folder)
    except (OSError, ValueError):
        return False  # a workflow may have that name
    return True

"""Store of stand-ins in the user's cache folder: each is made once, whole or not at all.

A folder is filled under a temporary name beside its place and then renamed, so that processes that
make the same one at the same time do not interfere: the first to finish wins, the others use its
folder. A list of the files and their sizes distinguishes whole folders from damaged ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from dw.refusals import cannot, cures
from dw.settings import cache_dir

_CONTENTS = "contents.json"
_MAKERS = ("torch", "diffusers", "transformers")


def place_of(name: str) -> Path:
    """The folder of `name`, with library versions and a hash of this package in its name."""
    return cache_dir() / "rehearsal" / "-".join([name, *_versions()])


def ensure(place: Path, make: Callable[[Path], None]) -> Path:
    """`place`, filled by `make` (called with an empty folder) unless it exists and is whole.

    Raises RunFailed if the cache folder cannot be written.
    """
    if _is_whole(place):
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=place.parent, prefix=".making-") as temporary:
            made = Path(temporary, "made")
            made.mkdir()
            make(made)
            (made / _CONTENTS).write_text(json.dumps(_sizes(made), indent=2), encoding="utf-8")
            _install(made, place)
    except OSError as error:
        hints = cures(error, of_limits=True) or (
            "free the disk or make the folder writable; XDG_CACHE_HOME names another one",
        )
        raise cannot(f"make the stand-ins in {place.parent}", error, *hints) from error
    return place


def _install(made: Path, place: Path) -> None:
    if not _is_whole(place):
        with suppress(OSError):  # it does not exist, or another process replaces it as well
            place.rename(made.with_name("damaged"))  # removed with the temporary folder
    try:
        made.rename(place)
    except OSError:
        if not _is_whole(place):  # otherwise another process was first
            raise


def _is_whole(place: Path) -> bool:
    try:
        contents = json.loads((place / _CONTENTS).read_text(encoding="utf-8"))
        return all((place / name).stat().st_size == size for name, size in contents.items())
    except (OSError, ValueError):
        return False


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file below `folder`, by its relative path."""
    return {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@cache
def _versions() -> tuple[str, ...]:
    recipe = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        recipe.update(source.read_bytes())
    return (*(f"{maker}{version(maker)}" for maker in _MAKERS), recipe.hexdigest()[:8])

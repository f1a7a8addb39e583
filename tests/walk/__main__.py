"""python -m tests.walk --steps 200 --seed 1: walk, and shorten what differs."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from dw.engine.models.snapshot import Snapshot
from dw.rehearsal import store
from tests.walk.engines import ready
from tests.walk.walk import Difference, Edit, Step, Walker, shortest, walk, write
from tests.walk.world import KINDS


def main() -> int:
    options = _options()
    logging.disable(logging.WARNING)
    if options.cache:
        store.cache_dir = lambda: options.cache
    for name in {*KINDS} - {*(options.only or ",".join(KINDS)).split(",")}:
        del KINDS[name]
    ready()
    sabotage = SABOTAGE.get(options.sabotage)
    steps = _parsed(options.replay) if options.replay else None
    if steps is None:
        with tempfile.TemporaryDirectory(prefix="dw-walk-") as folder:
            found = _walked(Walker(Path(folder), sabotage), options)
        if found is None:
            return 0
        print(f"seed {options.seed}, step {len(found.steps)}: {found.what}", flush=True)
        steps = found.steps
    keep = options.keep or Path(tempfile.mkdtemp(prefix="dw-walk-"))
    return _shortened(steps, keep, sabotage)


def _walked(walker: Walker, options: argparse.Namespace) -> Difference | None:
    counts: Counter[str] = Counter()
    begun = time.monotonic()
    number = 0
    for number, (step, found) in enumerate(walk(walker, options.seed, counts), start=1):
        if options.verbose:
            warm, other = walker.took
            cpu_s = f"{warm.cpu_s:.1f} + {other.cpu_s:.1f} s"
            print(f"{number}. {cpu_s} {walker.world.family}: {', '.join(map(str, step))}")
            print(f"   {warm.ending} {warm.message[:150]}", flush=True)
        if found is not None or number == options.steps:
            break
    walker.close()
    used = [name for name in KINDS if counts[name] >= 1]
    took = f"{number} comparisons in {time.monotonic() - begun:.0f} s"
    print(f"{took}, {len(used)} of {len(KINDS)} kinds of edit, {walker.failures} failed alike")
    if options.verbose:
        print("without a place:", *sorted({*KINDS} - {*used}))
    return found


def _shortened(steps: tuple[Step, ...], keep: Path, sabotage: Callable[[], None] | None) -> int:
    found = shortest(steps, keep / "tries", sabotage)
    if found is None:
        print("a walk of these steps alone does not differ")
        return 1
    print(write(found, keep / "found"))
    spelled = (" ".join(f"{edit.kind}:{edit.seed}" for edit in step) for step in found.steps)
    print(f"again: python -m tests.walk --replay '{' / '.join(spelled)}'", flush=True)
    return 1


def _parsed(text: str) -> tuple[Step, ...]:
    parts = (part.split() for part in text.split("/"))
    return tuple(
        tuple(Edit(name, int(seed)) for name, _, seed in (edit.partition(":") for edit in part))
        for part in parts
    )


def _forget_changes() -> None:
    """Break the undo of what calls change on models: it is forgotten, and stays on them."""
    Snapshot.restore = lambda self: True  # type: ignore[method-assign]


SABOTAGE = {"changes": _forget_changes}
"""What is done to the warm engine alone, to prove that the walk finds it."""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.walk", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--keep", type=Path, help="folder for the workflows that differ")
    parser.add_argument("--replay", help="walk these steps: KIND:SEED KIND:SEED / KIND:SEED")
    parser.add_argument("--only", help="these kinds of edit: KIND,KIND")
    parser.add_argument("--cache", type=Path, help="folder of the stand-ins")
    parser.add_argument("--sabotage", choices=SABOTAGE)
    parser.add_argument("--verbose", action="store_true", help="each step, with its CPU time")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

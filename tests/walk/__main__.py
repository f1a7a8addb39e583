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
    keep = options.keep or Path(tempfile.mkdtemp(prefix="dw-walk-"))
    if options.replay:
        return 1 if _shortened(_parsed(options.replay), keep, sabotage) else 0
    counts: Counter[str] = Counter()
    for seed in range(options.seed, options.seed + options.walks):
        with tempfile.TemporaryDirectory(prefix="dw-walk-") as folder:
            found = _walked(Walker(Path(folder), sabotage), seed, counts, options)
        if found is not None:
            print(f"seed {seed}, step {len(found.steps)}: {found.what}", flush=True)
            if not _shortened(found.steps, keep, sabotage):
                print(f"again: python -m tests.walk --replay '{_spelled(found.steps)}'")
            return 1
    return 0


def _walked(
    walker: Walker, seed: int, counts: Counter[str], options: argparse.Namespace
) -> Difference | None:
    begun = time.monotonic()
    found, number = None, 0
    for number, (step, found) in enumerate(walk(walker, seed, counts), start=1):
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
    drawn = f"{len(used)} of {len(KINDS)} kinds of edit"
    print(f"{took}, {drawn}, {walker.failures} failed alike", flush=True)
    if options.verbose:
        print("without a place:", *sorted({*KINDS} - {*used}))
    return found


def _shortened(steps: tuple[Step, ...], keep: Path, sabotage: Callable[[], None] | None) -> bool:
    """Whether a walk of these steps differs; then say at which of them."""
    found = shortest(steps, keep / "tries", sabotage)
    if found is None:
        print("a walk of these steps alone does not differ")
        return False
    print(write(found, keep / "found"))
    print(f"again: python -m tests.walk --replay '{_spelled(found.steps)}'", flush=True)
    return True


def _spelled(steps: tuple[Step, ...]) -> str:
    return " / ".join(" ".join(f"{edit.kind}:{edit.seed}" for edit in step) for step in steps)


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
    parser.add_argument("--walks", type=int, default=1, help="with seeds that follow the first")
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

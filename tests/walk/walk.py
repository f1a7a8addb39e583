"""The walk: steps of edits, each compared with a cold process, and the shortest that differs."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.walk import kinds
from tests.walk.engines import EngineProcess, Job, Outcome, cold
from tests.walk.world import KINDS, NotApplicable, World

assert kinds  # they fill KINDS
FIRST = "stable-diffusion-1.5"
MOST = 3
"""Edits of a step."""


OFTEN = {"other_family": 25, "family_of_many_kinds": 25, "example": 5, "plain_again": 25}
"""How much more often than others: the more is in a workflow, the less of it works."""


@dataclass(frozen=True)
class Edit:
    kind: str
    seed: int

    def __str__(self) -> str:
        return f"{self.kind}({self.seed})"


Step = tuple[Edit, ...]


@dataclass(frozen=True)
class Difference:
    """A step after which the warm engine is not as a cold one."""

    steps: tuple[Step, ...]  # all up to it
    warm: Outcome
    cold: Outcome | None  # None: it is right, but it has loaded more than was changed
    excess: tuple[str, ...] = ()

    @property
    def what(self) -> str:
        if self.cold is None:
            return f"loaded {', '.join(self.excess)}, which no edit has changed"
        if self.warm.ending == self.cold.ending == "failed":
            return f"failed with\n    {self.warm.message!r}, cold with\n    {self.cold.message!r}"
        ends = [
            f"{outcome.ending}{f' ({outcome.message})' if outcome.message else ''}"
            for outcome in (self.warm, self.cold)
        ]
        if ends[0] != ends[1]:
            return f"{ends[0]}, cold {ends[1]}"
        names = sorted(self.warm.results.keys() | self.cold.results.keys())
        pairs = [(n, self.warm.results.get(n), self.cold.results.get(n)) for n in names]
        return f"other results: {', '.join(n for n, one, other in pairs if one != other)}"


class Walker:
    """A warm engine and its world."""

    def __init__(self, folder: Path, sabotage: Callable[[], None] | None = None) -> None:
        self.folder = folder
        self.world = World(folder / "world")
        self.world.enter(FIRST)
        self._warm = EngineProcess(folder / "warm", sabotage)
        self.failures = 0
        self._is_known = False  # the last run has loaded all that its workflow needs

    def close(self) -> None:
        self._warm.close()

    def apply(self, edit: Edit) -> None:
        """Raises NotApplicable, with the world as it was."""
        kept = self.world.kept()
        try:
            KINDS[edit.kind].apply(self.world, Random(edit.seed))
        except NotApplicable:
            self.world.take_back(kept)
            raise

    def compare(self, steps: tuple[Step, ...], kept: object) -> Difference | None:
        """Run on both sides after the edits of the last step. Without results its edits are taken
        back, as far as they are in the workflow."""
        world = self.world
        job = world.next_job()
        allowed = self._allowed(steps[-1]) if self._is_known else None
        warm = self._warm.run(job)
        other = cold(_plain(job), self.folder / "cold")
        finished = other.ending == "finished"
        undone = world.undo
        world.ran(well=finished)
        if not finished:
            self.failures += 1
            world.take_back(kept)
        self.took = (warm, other)
        self._is_known = finished and not undone
        if warm.differs(other):
            return Difference(steps, warm, other)
        excess = () if allowed is None else tuple(n for n in warm.loaded if n not in allowed)
        return Difference(steps, warm, None, excess) if excess else None

    def _allowed(self, step: Step) -> frozenset[str] | None:
        """The components that a step's edits may have loaded; None: any."""
        allowed = {"safetensors"}  # a file of a whole pipeline: its parts are known after a load
        if any(s.get("release_pipeline") or s.get("release_models") for s in self.world.steps):
            return None
        if "offload_to_disk_path" in json.dumps(self.world.document):
            return None  # it lets go of the weights: a change below it has them read again
        for edit in step:
            loads = KINDS[edit.kind].loads
            if loads is None:
                return None
            allowed |= loads(self.world)
        return frozenset(allowed)

    def replay(self, steps: tuple[Step, ...]) -> Difference | None:
        """The first difference of a walk with these steps."""
        for number, step in enumerate(steps, start=1):
            kept = self.world.kept()
            for edit in step:
                with suppress(NotApplicable):
                    self.apply(edit)
            if found := self.compare(steps[:number], kept):
                return found
        return None


def _plain(job: Job) -> Job:
    return Job(job.path, job.text, job.arguments, job.seed, job.on_gpu, job.rehearse)


def walk(
    walker: Walker, seed: int, counts: Counter[str]
) -> Iterator[tuple[Step, Difference | None]]:
    """Steps without an end. What was drawn seldom is drawn next."""
    random = Random(seed)
    steps: list[Step] = []
    while True:
        kept = walker.world.kept()
        step: list[Edit] = []
        wanted = random.choices(range(1, MOST + 1), weights=[3, 4, 3])[0]
        while len(step) < wanted:
            names = sorted(KINDS)
            weights = [OFTEN.get(name, 1) / (1 + counts[name]) for name in names]
            edit = Edit(random.choices(names, weights)[0], random.randrange(10**6))
            counts[edit.kind] += 0.1  # type: ignore[assignment]  # also of those without a place
            with suppress(NotApplicable):
                walker.apply(edit)
                counts[edit.kind] += 1
                step.append(edit)
        steps.append(tuple(step))
        yield steps[-1], walker.compare(tuple(steps), kept)


def shortest(
    steps: tuple[Step, ...], folder: Path, sabotage: Callable[[], None] | None = None
) -> Difference | None:
    """The difference at the end of the shortest walk that still has one, by delta debugging: first
    whole steps are left out, then single edits."""
    shutil.rmtree(folder, ignore_errors=True)
    tries = 0

    def differs(some: tuple[Step, ...]) -> Difference | None:
        nonlocal tries
        tries += 1
        place = folder / f"try-{tries}"
        walker = Walker(place, sabotage)
        try:
            return walker.replay(some)
        finally:
            walker.close()
            shutil.rmtree(place, ignore_errors=True)

    found = differs(steps)
    if found is None:
        return None
    return _without_edits(_reduced(found, differs), differs)


def _reduced(
    found: Difference, differs: Callable[[tuple[Step, ...]], Difference | None]
) -> Difference:
    """Leave out ever smaller runs of steps; the last step stays."""
    size = len(found.steps) // 2
    while size >= 1:
        start = 0
        while start < len(found.steps) - 1:
            end = min(start + size, len(found.steps) - 1)
            shorter = (*found.steps[:start], *found.steps[end:])
            if other := differs(shorter):
                found = other
            else:
                start += size
        size //= 2
    return found


def _without_edits(
    found: Difference, differs: Callable[[tuple[Step, ...]], Difference | None]
) -> Difference:
    for number in reversed(range(len(found.steps))):
        for index in reversed(range(len(found.steps[number]))):
            if number >= len(found.steps) or len(found.steps[number]) < 2:
                continue
            step = found.steps[number]
            fewer = (*step[:index], *step[index + 1 :])
            other = differs((*found.steps[:number], fewer, *found.steps[number + 1 :]))
            if other is not None:
                found = other
    return found


def write(found: Difference, folder: Path) -> str:
    """Write the workflows of a walk, so that they can be run by hand, and say what differs."""
    shutil.rmtree(folder, ignore_errors=True)
    walker = Walker(folder)
    lines = []
    for number, step in enumerate(found.steps, start=1):
        kept = walker.world.kept()
        for edit in step:
            with suppress(NotApplicable):
                walker.apply(edit)
        job = walker.world.next_job()
        named = folder / f"step-{number}.json"
        named.write_text(job.text)
        more = {"arguments": job.arguments, "seed": job.seed, "on_gpu": job.on_gpu}
        more |= {"commands": job.commands, "cut": job.cut, "rehearse": job.rehearse}
        lines.append(f"  {number}. {', '.join(map(str, step))}  {json.dumps(more)}")
        outcome = cold(_plain(job), folder / "cold")
        walker.world.ran(well=outcome.ending == "finished")
        if outcome.ending != "finished":
            walker.world.take_back(kept)
    walker.close()
    return "\n".join([found.what, *lines, f"  workflows: {folder}"])

"""python -m tests.mutation [MODULE ...]: the share of mutants that the tests notice."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.mutation.judge import (
    Baseline,
    CollectedTests,
    baseline,
    collected,
    prepare,
    survives,
)
from tests.mutation.mutants import Mutant, mutants

HERE = Path(__file__).parent
WANTED = 0.9
MODULES: Mapping[str, Any] = tomllib.loads((HERE / "modules.toml").read_text(encoding="utf-8"))
REASONS: Mapping[str, Mapping[str, str]] = tomllib.loads(
    (HERE / "survivors.toml").read_text(encoding="utf-8")
)
"""Why a mutant may survive, by its module and its name: most change nothing that counts."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=", ".join(MODULES))
    parser.add_argument("--match", default="", help="only mutants with this in their name")
    parser.add_argument("--list", action="store_true", help="name the mutants and run nothing")
    options = parser.parse_args()
    if unknown := {*options.modules} - MODULES.keys():
        parser.error(f"unknown {', '.join(sorted(unknown))}; there are {', '.join(MODULES)}")
    names = options.modules or list(MODULES)
    if options.list:
        for name in names:
            for mutant in _mutants(name):
                print(f"{mutant.line}: {mutant.name}")
        return 0
    with tempfile.TemporaryDirectory(prefix="dw-mutation-") as temporary:
        prepare(Path(temporary))
        judged = [_judged(name, options.match, Path(temporary)) for name in names]
    return 0 if all(judged) else 1


def _mutants(name: str) -> list[Mutant]:
    return mutants(Path(MODULES[name]["path"]), are_keys=MODULES[name].get("are_keys", False))


def _judged(name: str, match: str, temporary: Path) -> bool:
    path, tests = Path(MODULES[name]["path"]), MODULES[name]["tests"]
    reasons = REASONS.get(name, {})
    chosen = [mutant for mutant in _mutants(name) if match in mutant.name]
    known = baseline(path.resolve(), tests, temporary)
    module = ".".join(path.with_suffix("").parts)
    limit_s = 10 + 3 * known.seconds
    begun = time.monotonic()
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w")

    def judged(mutant: Mutant, verdict: bool | None) -> bool | None:
        if verdict:
            told = "known " if mutant.name in reasons else ""
            print(f"  {told}{path}:{mutant.line} {mutant.name}", file=out, flush=True)
        return verdict

    def in_place(tests: CollectedTests) -> list[bool | None]:
        return [judged(m, _in_place(m, tests, known, limit_s)) for m in chosen]

    verdicts = collected(module, tests, temporary, in_place)
    survivors = [
        mutant
        for mutant, verdict in zip(chosen, verdicts, strict=True)
        if verdict
        or (
            verdict is None
            and judged(mutant, survives(module, mutant.source, tests, temporary, timeout_s=limit_s))
        )
    ]
    counted = [mutant for mutant in survivors if mutant.name not in reasons]
    total = len(chosen) - (len(survivors) - len(counted))
    score = 1 - len(counted) / total if total else 1.0
    took = f"{time.monotonic() - begun:.0f} s"
    said = f"{score:.1%} of {total} mutants noticed, {len(survivors) - len(counted)} with a reason"
    print(f"{name}: {said}, {took}", flush=True)
    stale = {} if match else reasons.keys() - {mutant.name for mutant in survivors}
    for each in sorted(stale):
        print(f"  survivors.toml has a reason for what does not survive: {each}")
    return score >= WANTED and not stale


def _in_place(
    mutant: Mutant, tests: CollectedTests, known: Baseline, limit_s: float
) -> bool | None:
    if mutant.is_executed_on_import:
        return None
    lines = range(mutant.line, mutant.last_line + 1)
    judges = list(dict.fromkeys(t for n in lines for t in known.executed.get(n, ())))
    if not judges:  # executed on import alone, as the default of a parameter is, or never
        return None if known.executed.keys() & lines else True
    return tests.survives(mutant.source, judges, timeout_s=limit_s)


if __name__ == "__main__":
    sys.exit(main())

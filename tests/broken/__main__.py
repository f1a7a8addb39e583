"""Shows what is reported about the broken files, or writes it down."""

from __future__ import annotations

import sys

from tests.broken.files import FILES, expectation, reported, shown


def main(words: list[str]) -> None:
    chosen = [path for path in FILES if not words or path.stem in words]
    for path in chosen if "--write" not in words else FILES:
        if "--write" in words:
            expectation(path).write_text(reported(path), encoding="utf-8")
        else:
            print("\n".join(shown(path)))


if __name__ == "__main__":
    main(sys.argv[1:])

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dw.engine.patches.progress_bars import Listener, listening


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """The warnings of a run, as they come."""
    found: list[str] = []
    with listening(Listener(lambda *_: None, lambda *_: None, found.append)):
        yield found

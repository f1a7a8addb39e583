from __future__ import annotations

import threading

import pytest

from dw.worker import bounded as module
from dw.worker.bounded import bounded


def test_the_answer_in_time() -> None:
    assert bounded(lambda: 3, 4) == 3
    assert bounded(lambda: None, 4) is None


def test_a_disk_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT_S", 0.01)
    hangs = threading.Event()
    assert bounded(hangs.wait, "too late") == "too late"
    assert bounded(hangs.wait, None) is None
    hangs.set()

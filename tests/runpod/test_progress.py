"""Progress: one message at a time, and none after the result."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from dw.runpod.progress import Progress


def test_it_is_throttled_and_one_is_on_its_way() -> None:
    sent: list[Any] = []
    gate = asyncio.Event()

    async def send(state: Mapping[str, Any]) -> None:
        await gate.wait()
        sent.append(state["done"])

    async def report() -> None:
        async with Progress(send, interval_s=0.0) as progress:
            for done in range(5):
                progress.report({"done": done})
                await asyncio.sleep(0)
            gate.set()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            progress.report({"done": 5})
        sent.append("result")

    asyncio.run(report())
    assert sent == [0, 5, "result"]


def test_an_interval_lies_between_two(monkeypatch: pytest.MonkeyPatch) -> None:
    now, sent = [100.0], []
    monkeypatch.setattr("dw.runpod.progress.time.monotonic", lambda: now[0])

    async def send(state: Mapping[str, Any]) -> None:
        sent.append(state["at"])

    async def report() -> None:
        async with Progress(send, interval_s=1.0) as progress:
            for tenth in range(25):
                now[0] = 100 + tenth / 10
                progress.report({"at": tenth})
                await asyncio.sleep(0)
                await asyncio.sleep(0)

    asyncio.run(report())
    assert sent == [0, 10, 20]

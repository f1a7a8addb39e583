"""The handler without the SDK: where results go, and what leaves it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dw.jobs.catalog import Catalog
from dw.jobs.queue import JobQueue
from dw.jobs.service import JobService
from dw.jobs.store import JobStore
from dw.runpod.call import Default
from dw.runpod.handler import Handler, Policy
from dw.settings import Settings
from dw.types import Permissions
from tests.runpod.worker import Pool

SERVICE = Path(__file__).parents[2] / "examples" / "service"
GOOD = {"prompt": "x", "user_id": "a"}
HEADSHOT = Default("headshot", ("prompt", "user_id"))


@pytest.fixture
def service(tmp_path: Path) -> Iterator[JobService]:
    settings = Settings(output_dir=str(tmp_path / "outputs"))
    store = JobStore(tmp_path / "jobs.db")
    with closing(store), closing(JobQueue(store, Pool(), settings)) as queue:
        yield JobService(queue, Catalog(SERVICE, Permissions()))


def answer(handler: Handler, given: Any, **fields: Any) -> dict[str, Any]:
    return asyncio.run(handler.answer({"id": "a", "input": given, **fields}))


def signing(service: JobService, monkeypatch: pytest.MonkeyPatch) -> JobService:
    monkeypatch.setattr(JobService, "output_url", lambda *_: "https://s3/jobs/image_0.png?sig")
    return replace(service, storage_url="")


@pytest.mark.parametrize(
    ("policy", "prompt", "kind"),
    [
        (Policy(), "x", "url"),
        (Policy(inline_bytes=100), "x", "data"),
        (Policy(inline_bytes=100), "large", "url"),
    ],
)
def test_a_result_is_a_url_or_base64_by_its_size(
    service: JobService, monkeypatch: pytest.MonkeyPatch, policy: Policy, prompt: str, kind: str
) -> None:
    handler = Handler(signing(service, monkeypatch), default=HEADSHOT, policy=policy)
    (result,) = answer(handler, GOOD | {"prompt": prompt})["output"]
    expiry = {"expires_at"} if kind == "url" else set()
    assert set(result) == {"filename", "type", kind} | expiry


def test_files_are_kept_on_request(service: JobService, tmp_path: Path) -> None:
    answer(Handler(service, default=HEADSHOT, policy=Policy(keeps_files=True)), GOOD)
    assert [each.name for each in (tmp_path / "outputs").rglob("*.png")] == ["a.png"]
    answer(Handler(service, default=HEADSHOT), GOOD)
    assert len([*(tmp_path / "outputs").rglob("*.png")]) == 1


@pytest.mark.parametrize(("refresh_after", "refreshed"), [(0, 0), (1, 3), (2, 2), (3, 1)])
def test_the_policy_decides_when_a_new_machine_is_asked_for(
    service: JobService, refresh_after: int, refreshed: int
) -> None:
    handler = Handler(service, default=HEADSHOT, policy=Policy(refresh_after=refresh_after))
    told = [answer(handler, GOOD | {"prompt": "dies"}) for _ in range(3)]
    assert sum("refresh_worker" in each for each in told) == refreshed
    assert "refresh_worker" not in answer(handler, GOOD)


def test_a_fault_in_dw_is_an_answer_and_its_traceback_is_logged(
    service: JobService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def submit(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(JobService, "submit", submit)
    told = answer(Handler(service, default=HEADSHOT), GOOD)
    assert told["error_type"] == "internal_error"
    assert "secret" not in str(told)
    assert "ZeroDivisionError: secret" in caplog.text


def test_the_empty_input_of_a_client_is_unwrapped(service: JobService) -> None:
    assert answer(Handler(service, default=HEADSHOT), {"input": GOOD})["status"] == "success"


def test_keys_of_a_job_are_never_logged(
    service: JobService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    handler = Handler(service, default=HEADSHOT)
    answer(handler, GOOD, s3Config={"accessId": "AKIA1", "accessSecret": "hush"})
    assert "s3Config of a job is not used" in caplog.text
    assert "AKIA1" not in caplog.text
    assert "hush" not in caplog.text


def test_what_a_stopped_job_has_left_goes_with_its_record(
    service: JobService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dw.runpod.handler.MOST_KEPT", 0)
    handler = Handler(service, default=HEADSHOT)

    async def stopped() -> None:
        job = {"id": "a", "input": GOOD | {"prompt": "hangs"}}
        task = asyncio.ensure_future(handler.answer(job))
        while not [*(tmp_path / "outputs").glob("[!.]*")]:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await handler.answer({"id": "b", "input": GOOD})

    asyncio.run(stopped())
    assert [*(tmp_path / "outputs").glob("[!.]*")] == []  # .dw has the last number
    assert service.queue.store.jobs() == []

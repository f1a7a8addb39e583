"""The page in a real Chromium, as people use it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from dw.events import Run
from dw.jobs.job import JobState
from tests.jobs.test_queue import hang, until, writes
from tests.server.chromium import Page, browser, chromium_path
from tests.server.conftest import RunningServer

pytestmark = pytest.mark.skipif(chromium_path() is None, reason="there is no Chromium here")


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(tab: Page, workflows: Path) -> Page:
    """A tab without problems yet, and the workflow `card` with limits."""
    text = json.loads((workflows / "demo.json").read_text())
    text |= {
        "id": "card",
        "variables": {"prompt": "", "user_id": "", "num_inference_steps": 4, "number": 1},
        "required": ["prompt", "user_id"],
        "inputs": {
            "prompt": {"title": "Prompt", "minLength": 1, "maxLength": 1000},
            "user_id": {"title": "User ID", "pattern": "^[a-z]+$", "description": "who asks"},
            "num_inference_steps": {"title": "Steps", "minimum": 1, "maximum": 50},
            "number": {"enum": [1, 2]},
        },
    }
    (workflows / "card.json").write_text(json.dumps(text))
    tab.problems.clear()
    return tab


def picture() -> bytes:
    file = BytesIO()
    Image.new("RGB", (32, 24), "red").save(file, "PNG")
    return file.getvalue()


def fill(page: Page, **values: str) -> None:
    for name, value in values.items():
        page.js(f"document.getElementById('f-{name}').value = {json.dumps(value)}")


def send(page: Page) -> None:
    page.loaded_by(lambda: page.js("document.querySelector('main form button').click()"))


@pytest.mark.parametrize("has_scripts", [True, False])
def test_from_the_list_to_the_image(
    page: Page, server: RunningServer, tmp_path: Path, has_scripts: bool
) -> None:
    page.call("Emulation.setScriptExecutionDisabled", value=not has_scripts)
    server.worker.answers = [writes(tmp_path / "run", picture())]
    page.open(server.url)
    page.loaded_by(lambda: page.js("document.querySelector('a[href=\"/workflows/card\"]').click()"))
    fill(page, prompt="a hen", user_id="anna", num_inference_steps="9")
    send(page)
    job_id = page.js("location.pathname").removeprefix("/jobs/")
    until(server.service.queue, job_id)
    page.open(f"{server.url}/jobs/{job_id}")
    assert page.js("document.querySelector('#state').textContent") == "succeeded"
    assert page.js("document.querySelector('figure img').naturalWidth") == 32
    (run,) = (c for c in server.worker.commands if isinstance(c, Run))
    assert run.arguments["num_inference_steps"] == 9
    page.open(server.url)
    assert job_id in page.text()
    page.call("Emulation.setScriptExecutionDisabled", value=False)
    assert page.problems == []


def test_a_wrong_value_is_told_at_its_field(page: Page, server: RunningServer) -> None:
    page.open(f"{server.url}/workflows/card")
    fill(page, prompt="a hen", user_id="user@domain.com")
    send(page)
    told = "User ID contains invalid characters"
    field = "document.getElementById('f-user_id')"
    assert page.js(f"{field}.getAttribute('aria-invalid')") == "true"
    labels = page.js(f"{field}.getAttribute('aria-describedby')").split()
    assert [page.js(f"document.getElementById('{each}').textContent") for each in labels] == [
        told,
        "who asks",
    ]
    assert page.js("document.querySelector('[role=alert] a').hash") == "#f-user_id"
    assert page.js("document.getElementById('f-prompt').value") == "a hen"
    assert not server.worker.commands


def test_the_form_knows_the_limits(page: Page, server: RunningServer) -> None:
    page.open(f"{server.url}/workflows/card")
    for values, wrong in (
        ({}, "prompt"),
        ({"prompt": "a hen"}, "user_id"),
        ({"user_id": "anna", "num_inference_steps": "51"}, "num_inference_steps"),
        ({"num_inference_steps": "0"}, "num_inference_steps"),
        ({"num_inference_steps": "1.5"}, "num_inference_steps"),
    ):
        fill(page, **values)
        assert page.js("document.querySelector('form :invalid').name") == wrong
    fill(page, num_inference_steps="50")
    assert page.js("document.querySelector('main form').checkValidity()") is True
    options = "[...document.querySelectorAll('#f-number option')].map(o => o.value)"
    assert page.js(options) == ["", "1", "2"]
    unlabelled = (
        "[...document.querySelectorAll('form [name]')].filter(e => !e.labels.length).length"
    )
    assert page.js(unlabelled) == 0
    assert page.problems == []


def test_a_job_is_followed_without_a_reload_and_cancelled(
    page: Page, server: RunningServer
) -> None:
    server.worker.answers = [hang]
    job_id = server.submit()
    until(server.service.queue, job_id, [JobState.RUNNING])
    page.open(f"{server.url}/jobs/{job_id}")
    page.js(
        "new Promise(done => { const state = document.getElementById('state');"
        " const look = () => state.textContent === 'running' ? done() : setTimeout(look, 10);"
        " look(); })"
    )
    send(page)
    assert until(server.service.queue, job_id).state is JobState.CANCELLED
    page.open(f"{server.url}/jobs/{job_id}")
    assert page.js("document.querySelector('#state').textContent") == "cancelled"
    assert page.problems == []


def test_nothing_is_wider_than_a_phone(page: Page, server: RunningServer) -> None:
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    page.call("Emulation.setDeviceMetricsOverride", **size)
    for path in ("/", "/workflows/card", f"/jobs/{server.submit()}"):
        page.open(f"{server.url}{path}")
        assert page.js("document.documentElement.scrollWidth") <= 390, path
    page.call("Emulation.clearDeviceMetricsOverride")

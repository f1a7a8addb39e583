"""The page, as a browser without scripts uses it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dw.events import Run
from dw.jobs.job import JobState
from tests.jobs.test_queue import hang, until, writes
from tests.server.conftest import RunningServer, Start


def test_from_the_list_to_the_form_to_the_image(server: RunningServer, tmp_path: Path) -> None:
    server.worker.answers = [writes(tmp_path / "run")]
    assert 'href="/workflows/demo"' in server.http.get("/").text
    form = server.http.get("/workflows/demo").text
    assert re.search(r'<textarea id="f-prompt" name="prompt"[^>]*>a cat</textarea>', form)
    assert 'name="num_inference_steps" value="4"' in form
    sent = server.http.post(
        "/workflows/demo",
        data={"prompt": "a <hen>", "num_inference_steps": "9", "seed": ""},
        follow_redirects=False,
    )
    assert sent.status_code == 303
    job_id = sent.headers["location"].removeprefix("/jobs/")
    until(server.service.queue, job_id)
    shown = server.http.get(f"/jobs/{job_id}").text
    assert f'<img src="/v1/jobs/{job_id}/outputs/0"' in shown
    assert "a &lt;hen&gt;" in shown
    assert "refresh" not in shown, "it has ended"
    (run,) = (c for c in server.worker.commands if isinstance(c, Run))
    assert run.arguments == {"prompt": "a <hen>", "num_inference_steps": 9}
    assert run.preview_s == 1.0, "the page shows them"
    assert job_id in server.http.get("/").text


def test_what_is_wrong_is_told_above_the_form_which_keeps_its_values(
    server: RunningServer,
) -> None:
    answer = server.http.post("/workflows/demo", data={"prompt": "hen", "num_inference_steps": "x"})
    assert answer.status_code == 400
    assert "num_inference_steps must be an integer, got &#39;x&#39;" in answer.text
    assert ">hen</textarea>" in answer.text
    assert not server.worker.commands


def test_a_running_job_is_shown_and_cancelled(server: RunningServer) -> None:
    server.worker.answers = [hang]
    job_id = server.submit()
    until(server.service.queue, job_id, [JobState.RUNNING])
    shown = server.http.get(f"/jobs/{job_id}").text
    assert '<meta http-equiv="refresh"' in shown
    assert '<img id="preview"' in shown
    assert server.http.get("/static/page.js").status_code == 200
    assert server.http.post(f"/jobs/{job_id}/cancel").status_code == 303
    assert until(server.service.queue, job_id).state is JobState.CANCELLED


def test_a_form_of_another_website_does_nothing(server: RunningServer) -> None:
    foreign = {"origin": "https://elsewhere.example"}
    for path in ("/workflows/demo", "/jobs/j_000000000000/cancel"):
        answer = server.http.post(path, data={"prompt": "x"}, headers=foreign)
        assert answer.status_code == 400
        assert "another website" in answer.json()["error"]["message"]
    own = {"origin": server.url}
    assert server.http.post("/workflows/demo", data={}, headers=own).status_code == 303


def test_the_browser_asks_for_the_key(start: Start) -> None:
    server = start(keys=frozenset({"sk-one"}))
    without = server.http.get("/", headers={"authorization": ""})
    assert (without.status_code, without.headers["www-authenticate"][:5]) == (401, "Basic")
    for password, status in (("sk-one", 200), ("sk-two", 401), ("", 401)):
        headers = {"authorization": ""}
        del headers["authorization"]
        answer = server.http.get("/", auth=("anybody", password), headers=headers)
        assert answer.status_code == status


@pytest.mark.parametrize("path", ["/", "/workflows/demo"])
def test_only_our_own_scripts_run(server: RunningServer, path: str) -> None:
    assert "default-src 'self'" in server.http.get(path).headers["content-security-policy"]

"""The SDK's own loop against a platform on loopback."""

from __future__ import annotations

import base64
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import assert_gone
from tests.runpod.platform import Platform, Worker

HEADSHOT = str(Path(__file__).parents[2] / "examples" / "service" / "headshot.json")
GOOD = {"prompt": "two blue squares", "user_id": "u1"}


def asks(prompt: str) -> dict[str, str]:
    return GOOD | {"prompt": prompt}


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with Platform() as started:
        yield started


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pod")


@pytest.fixture(scope="module")
def worker(platform: Platform, folder: Path) -> Iterator[Worker]:
    """The last test ends it."""
    with Worker(folder, "--workflow", HEADSHOT, platform=platform) as started:
        yield started


def is_last(platform: Platform, job_id: str) -> bool:
    return platform.messages[job_id][-1] == platform.final(job_id)


def test_the_handler_is_called_for_each_queued_job(
    platform: Platform, worker: Worker, folder: Path
) -> None:
    names = [f"good{n}" for n in range(4)]
    for name in names:
        platform.submit(name, GOOD)
    for name in names:
        (result,) = platform.final(name)["output"]["output"]
        assert base64.b64decode(result["data"]) == b"picture"
        assert platform.progress(name)
        assert is_last(platform, name)
    lines = worker.text().splitlines()
    told = [line.partition(" INFO ")[2] or line for line in lines]
    banner = [told.index(line) for line in ("INITIALIZING RUNPOD SERVERLESS WORKER", "=" * 60)]
    assert banner[1] < banner[0]
    assert [
        each for each in told if each.startswith(("Starting Run", "Handler ", "--- Start"))
    ] == [
        "Starting RunPod serverless worker...",
        next(each for each in told if each.startswith("Handler function: <function ")),
        "Handler callable: True",
        next(each for each in told if each.startswith("--- Starting Serverless Worker | ")),
    ]
    place = told.index("Job ID: good0")
    assert told[place - 2 : place + 3] == [
        "=" * 60,
        "HANDLER CALLED - NEW REQUEST RECEIVED",
        "Job ID: good0",
        "=" * 60,
        "Processing job: good0",
    ]
    assert told.count("Status: success") == 4
    left = [path.name for path in (folder / "outputs").iterdir()]
    assert left == [".dw"], "what was delivered is removed, the workflow's text stays"


@pytest.mark.parametrize(
    ("given", "error_type", "message"),
    [
        (asks("breaks"), "execution_error", "it broke"),
        ({"user_id": "a"}, "missing_field", "Missing required field: 'prompt'"),
        ({}, "missing_field", "Missing required field: 'prompt'"),
        ({"workflow": "nothing"}, "workflow_not_found", "unknown workflow 'nothing'"),
        ([], "invalid_type", "input must be an object, got []"),
        (asks("large"), "result_too_large", "the results have 10.7 MB as base64, the platform "),
    ],
)
def test_an_error_keeps_its_code_inside_the_output_too(
    platform: Platform, worker: Worker, given: Any, error_type: str, message: str
) -> None:
    name = f"bad-{error_type}-{len(given)}"
    platform.submit(name, given)
    told = platform.final(name)
    assert told["error"].startswith(message)
    assert told["output"]["message"] == told["error"]
    assert told["output"]["error_type"] == error_type
    assert told["output"]["status"] == "error"
    assert "Traceback" not in str(told)
    assert is_last(platform, name)


def test_the_traceback_of_a_failure_is_in_the_log(platform: Platform, worker: Worker) -> None:
    platform.submit("trace", asks("breaks"))
    platform.final("trace")
    log = worker.text()
    assert "ERROR Operation failed: it broke" in log
    assert "Traceback (secret)" in log


def test_a_batch_is_one_job_with_an_answer_for_each_call(
    platform: Platform, worker: Worker
) -> None:
    platform.submit("batch", {"inputs": [GOOD, asks("breaks"), {"user_id": "a"}, GOOD]})
    output = platform.final("batch")["output"]
    told = [each.get("error_type", each["status"]) for each in output["output"]]
    assert told == ["success", "execution_error", "missing_field", "success"]
    assert (output["metrics"]["num_samples"], output["metrics"]["failed"]) == (2, 2)
    platform.submit("all-bad", {"inputs": [{}, {}]})
    told = platform.final("all-bad")
    assert told["error"] == told["output"]["message"] == "Missing required field: 'prompt'"


def test_a_worker_that_dies_is_told_and_after_the_second_a_new_machine_is_asked_for(
    platform: Platform, worker: Worker
) -> None:
    platform.submit("death", asks("dies"))
    told = platform.final("death")
    assert told["output"]["error_type"] == "worker_crashed"
    assert "stopPod" not in told
    platform.submit("survivor", GOOD)
    assert platform.final("survivor")["output"]["status"] == "success"
    for name in ("death1", "death2"):
        platform.submit(name, asks("dies"))
        told = platform.final(name)
    assert told["stopPod"] is True
    platform.submit("survivor2", GOOD)
    assert "stopPod" not in platform.final("survivor2")


def test_a_stop_of_the_platform_ends_the_run_and_nothing_else(
    platform: Platform, worker: Worker
) -> None:
    platform.submit("stopped", asks("hangs"))
    platform.until(lambda: bool(platform.progress("stopped")))
    platform.stop("stopped")
    worker.until_logged("Status: cancelled")
    platform.submit("next", GOOD)
    assert platform.final("next")["output"]["status"] == "success"
    assert all(each["status"] == "IN_PROGRESS" for each in platform.messages["stopped"])


def test_sigterm_lets_the_running_job_end(platform: Platform, worker: Worker) -> None:
    tree = worker.tree()
    assert len(tree) == 2, "the other one is the heartbeat"
    platform.submit("last", asks("slow"))
    platform.until(lambda: bool(platform.progress("last")))
    worker.process.send_signal(signal.SIGTERM)
    assert platform.final("last")["output"]["status"] == "success"
    assert worker.exit_code() == 0
    assert_gone(tree, 5.0)


# ------------------------------------------------------------------ others


def test_a_stream_gives_each_result_and_their_list_and_a_kill_ends_the_heartbeat(
    tmp_path: Path,
) -> None:
    words = ("--workflow", HEADSHOT, "--stream")
    with Platform() as platform, Worker(tmp_path, *words, platform=platform) as worker:
        platform.submit("one", GOOD)
        (result,) = platform.final("one")["output"]
        assert [each["output"] for each in platform.chunks["one"]] == [result]
        assert result["output"][0]["type"] == "image/png"
        platform.submit("bad", asks("breaks"))
        assert platform.final("bad") == {"error": "it broke"}
        (chunk,) = platform.chunks["bad"]
        assert chunk["output"] == {
            "status": "error",
            "error_type": "execution_error",
            "message": "it broke",
        }
        platform.submit("many", {"inputs": [GOOD, asks("breaks"), GOOD]})
        many = platform.final("many")["output"]
        assert [each["status"] for each in many] == ["success", "error", "success"]
        assert [each["output"] for each in platform.chunks["many"]] == many
        for name in ("one", "bad", "many"):
            assert is_last(platform, name)
        tree = worker.tree()
        worker.process.kill()
        assert_gone(tree, 5.0)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            ["--require-env", "SUPABASE_URL"],
            "InitializationFailed: SUPABASE_URL environment variable is required",
        ),
        (["--boot-dies"], "WorkerLost: the worker could not start: no torch"),
    ],
)
def test_a_failed_initialization_is_told_before_a_job_is_taken(
    tmp_path: Path, words: list[str], reason: str
) -> None:
    with (
        Platform() as platform,
        Worker(tmp_path, "--workflow", HEADSHOT, *words, platform=platform) as worker,
    ):
        platform.submit("never", GOOD)
        assert worker.exit_code() == 1
        assert platform.takes == 0
        (told,) = platform.unhealthy
        assert (told["check"], told["reason"]) == ("initialization", reason)
        assert "Traceback" not in worker.text()


@pytest.mark.parametrize(
    ("prompt", "words", "code", "told"),
    [
        ("a hen", [], 0, "completed successfully"),
        ("breaks", [], 1, "failed with error: it broke"),
        pytest.param(
            *("a hen", ["--require-env", "NOPE"], 1, "NOPE environment variable is required"),
            marks=pytest.mark.long,
        ),
    ],
)
def test_the_exit_code_of_a_test_input(
    tmp_path: Path, prompt: str, words: list[str], code: int, told: str
) -> None:
    job = f'{{"input": {{"prompt": "{prompt}", "user_id": "a"}}}}'
    with Worker(tmp_path, "--workflow", HEADSHOT, "--test-input", job, *words) as worker:
        assert worker.exit_code() == code
        assert told in worker.text()

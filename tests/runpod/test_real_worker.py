"""The whole of it: the SDK's loop, the handler, a worker with the small model, its death."""

from __future__ import annotations

import base64
import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from PIL import Image

from tests.processes import assert_gone
from tests.runpod.platform import Platform, Worker
from tests.runpod.test_sdk import GOOD, HEADSHOT, asks, is_last

pytestmark = pytest.mark.long

FEW = GOOD | {"num_inference_steps": 2, "seed": 7}
MANY = GOOD | {"num_inference_steps": 100, "number": 4}


def gpu_worker(worker: Worker) -> psutil.Process:
    """The process that has the models: that with the most memory but for the program itself."""
    children = worker.tree()[1:]
    return max(children, key=lambda each: each.memory_info().rss)


def test_pictures_a_stop_a_death_and_an_end(tmp_path: Path) -> None:
    words = ("runpod", "--workflow", HEADSHOT, "--refresh-after", "1")
    with (
        Platform() as platform,
        Worker(tmp_path, *words, platform=platform, module="dw") as worker,
    ):
        platform.submit("first", FEW)
        (first,) = platform.final("first")["output"]["output"]
        image = Image.open(io.BytesIO(base64.b64decode(first["data"])))
        assert platform.final("first")["output"]["metrics"]["image_size"] == "x".join(
            map(str, image.size)
        )
        before = gpu_worker(worker)

        platform.submit("stopped", MANY)
        platform.until(lambda: any("done" in each for each in platform.progress("stopped")))
        platform.stop("stopped")
        worker.until_logged("Status: cancelled")
        platform.submit("again", FEW)
        (again,) = platform.final("again")["output"]["output"]
        assert again["data"] == first["data"], "the same seed, the same picture"
        assert gpu_worker(worker).pid == before.pid, "the models are kept"

        platform.submit("death", MANY)
        platform.until(lambda: any("done" in each for each in platform.progress("death")))
        os.kill(before.pid, signal.SIGKILL)
        told = platform.final("death")
        assert told["output"]["error_type"] == "worker_crashed"
        assert "SIGKILL" in told["error"] or "signal 9" in told["error"]
        assert told["stopPod"] is True
        platform.submit("survivor", FEW)
        assert platform.final("survivor")["output"]["output"][0]["data"] == first["data"]
        assert all(is_last(platform, name) for name in ("first", "again", "death", "survivor"))

        tree = worker.tree()
        worker.process.send_signal(signal.SIGTERM)
        assert worker.exit_code() == 0
        assert_gone(tree, 5.0)


def test_the_result_is_the_last_message_of_twenty_jobs(tmp_path: Path) -> None:
    names = [f"job{n}" for n in range(20)]
    with Platform() as platform, Worker(tmp_path, "--workflow", HEADSHOT, platform=platform):
        for name in names:
            platform.submit(name, GOOD)
        for name in names:
            platform.final(name)
        assert [is_last(platform, name) for name in names] == [True] * 20
        assert all(platform.progress(name) for name in names)


@pytest.fixture(scope="module")
def sdk_1_8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an SDK from before stops and fitness checks."""
    folder = tmp_path_factory.mktemp("sdk")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder))
    if subprocess.run([*pip, "runpod==1.8.1"], check=False).returncode:
        pytest.skip("runpod 1.8.1 cannot be installed here")
    return folder


def test_the_same_with_an_old_sdk(tmp_path: Path, sdk_1_8: Path) -> None:
    root = str(Path(__file__).parents[2])
    environment = {"PYTHONPATH": os.pathsep.join((root, str(sdk_1_8)))}
    words = ("--workflow", HEADSHOT)
    with (
        Platform() as platform,
        Worker(tmp_path, *words, platform=platform, environment=environment) as worker,
    ):
        for name, given in (("good", GOOD), ("bad", {"user_id": "a"}), ("dead", asks("dies"))):
            platform.submit(name, given)
        assert platform.final("good")["output"]["status"] == "success"
        assert platform.final("bad")["output"]["error_type"] == "missing_field"
        assert platform.final("dead")["output"]["error_type"] == "worker_crashed"
        assert all(is_last(platform, name) for name in ("good", "bad", "dead"))
        assert "Version 1.8.1" in worker.text()
        worker.process.send_signal(signal.SIGTERM)
        assert worker.exit_code() == 0


def test_an_old_sdk_has_no_fitness_checks_so_each_request_is_told(
    tmp_path: Path, sdk_1_8: Path
) -> None:
    root = str(Path(__file__).parents[2])
    environment = {"PYTHONPATH": os.pathsep.join((root, str(sdk_1_8)))}
    words = ("--workflow", HEADSHOT, "--require-env", "SUPABASE_URL")
    with (
        Platform() as platform,
        Worker(tmp_path, *words, platform=platform, environment=environment),
    ):
        platform.submit("a", GOOD)
        told = platform.final("a")
        assert told["error"] == "SUPABASE_URL environment variable is required"
        assert told["output"]["error_type"] == "initialization_error"

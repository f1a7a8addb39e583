"""Sweeps: jobs for every combination of values."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

from dw import events
from tests.jobs.test_queue import hang, writes
from tests.repl.fake import ending_with
from tests.server.conftest import RunningServer

SWEEP = {
    "workflow": "demo",
    "arguments": {"num_inference_steps": 2},
    "values": {"prompt": ["a cat", "=1+1"], "seed": [1, 2, 3]},
}


def test_each_combination_is_a_job_and_its_row(server: RunningServer) -> None:
    server.worker.answers = [ending_with(lambda n: events.Failed(n, "run", "it broke"))]
    answer = server.http.post("/v1/sweeps", json=SWEEP)
    assert answer.status_code == 202, answer.text
    sweep = answer.json()
    for job in sweep["jobs"]:
        server.ended(job["id"])
    told = server.http.get(f"/v1/sweeps/{sweep['id']}").json()
    assert (told["total"], told["is_over"]) == (6, True)
    assert told["counts"] == {"failed": 1, "succeeded": 5}
    text = server.http.get(f"/v1/sweeps/{sweep['id']}/results.csv").text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["prompt"], row["seed"]) for row in rows] == [
        (prompt, str(seed)) for prompt in ("a cat", "'=1+1") for seed in (1, 2, 3)
    ]
    assert (rows[0]["state"], rows[0]["error"]) == ("failed", "it broke")
    url = told["jobs"][1]["outputs"][0]["url"]
    assert (rows[1]["job"], rows[1]["outputs"]) == (told["jobs"][1]["id"], url)


def test_the_sheet_has_a_column_for_each_value_of_the_last_name(
    server: RunningServer, tmp_path: Path
) -> None:
    def colour(name: str) -> bytes:
        file = io.BytesIO()
        Image.new("RGB", (40, 30), name).save(file, "PNG")
        return file.getvalue()

    fails = ending_with(lambda n: events.Failed(n, "run", "it broke"))
    server.worker.answers = [
        *(writes(tmp_path / name, colour(name)) for name in ("red", "lime", "blue")),
        *(fails, writes(tmp_path / "black", colour("black")), fails),
    ]
    sweep = server.http.post("/v1/sweeps", json=SWEEP).json()
    for job in sweep["jobs"]:
        server.ended(job["id"])
    answer = server.http.get(f"/v1/sweeps/{sweep['id']}/sheet.png")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    image = Image.open(io.BytesIO(answer.content))
    found = {name: _middle(image, name) for name in ("red", "lime", "blue", "black")}
    assert found["red"][0] < found["lime"][0] == found["black"][0] < found["blue"][0]
    assert found["red"][1] == found["lime"][1] == found["blue"][1] < found["black"][1]


def _middle(image: Image.Image, colour: str) -> tuple[int, int]:
    """Where a picture of a colour lies."""
    wanted = Image.new("RGB", image.size, colour)
    difference = ImageChops.difference(image.convert("RGB"), wanted).convert("L")
    box = difference.point(lambda value: 255 * (value == 0)).getbbox()
    assert box is not None, colour
    assert (box[2] - box[0], box[3] - box[1]) == (40, 30)
    return (box[0] + box[2]) // 2, (box[1] + box[3]) // 2


def test_a_sweep_without_images_has_no_sheet(server: RunningServer) -> None:
    server.worker.answers = [hang]
    sweep = server.http.post("/v1/sweeps", json=SWEEP).json()
    answer = server.http.get(f"/v1/sweeps/{sweep['id']}/sheet.png")
    assert (answer.status_code, answer.json()["error"]["error_type"]) == (404, "not_found")


def test_all_jobs_have_one_seed_when_nobody_names_one(server: RunningServer) -> None:
    body = {"workflow": "demo", "values": {"prompt": ["a", "b", "c"]}}
    jobs = server.http.post("/v1/sweeps", json=body).json()["jobs"]
    assert len({job["seed"] for job in jobs}) == 1


def test_a_sweep_is_cancelled_whole(server: RunningServer) -> None:
    server.worker.answers = [hang]
    sweep = server.http.post("/v1/sweeps", json=SWEEP).json()
    assert server.http.post(f"/v1/sweeps/{sweep['id']}/cancel").status_code == 200
    ended = [server.ended(job["id"])["state"] for job in sweep["jobs"]]
    assert ended == ["cancelled"] * 6


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"values": {"prompt": [f"{n}" for n in range(40)], "seed": [*range(40)]}}, "values"),
        ({"values": {"prompt": ["a"], "num_inference_steps": [1]}}, "values"),
        ({"values": {"prompt": ["a", 3]}}, "prompt"),
        ({"values": {"prompt": []}}, "values.prompt"),
        ({"values": {}}, "values"),
    ],
)
def test_what_is_wrong_makes_no_job(
    server: RunningServer, change: dict[str, Any], param: str
) -> None:
    server.worker.answers = [hang]
    answer = server.http.post("/v1/sweeps", json=SWEEP | change)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    left = server.http.get("/v1/jobs").json()["jobs"]
    assert all(server.ended(job["id"])["state"] == "cancelled" for job in left)


def test_an_unknown_sweep(server: RunningServer) -> None:
    assert server.http.get(f"/v1/sweeps/sweep_{'0' * 24}").status_code == 404

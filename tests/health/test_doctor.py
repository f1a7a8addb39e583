"""`dw doctor` on machines that each lack one thing: it is named, with its remedy."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dw.doctor import main
from dw.health.device import check_device, judged
from dw.health.finding import Finding
from dw.rehearsal import stand_in
from tests.disks import full_disk, read_only_disk
from tests.engine.session import text_to_image

Findings = dict[str, dict[str, Any]]
Doctor = Callable[..., tuple[int, Findings]]
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="session")
def sd15(stand_ins: Path) -> Path:
    return stand_in("StableDiffusionPipeline", "")


@pytest.fixture
def doctor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Doctor:
    """Examines in this process, and asks torch nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("dw.doctor.check_device", lambda wanted: [])

    def examine(*words: str) -> tuple[int, Findings]:
        """The exit code, and what was found, by the name of the check."""
        code = main(["--json", *words])
        return code, by_name(capsys.readouterr().out)

    return examine


def by_name(lines: str) -> Findings:
    return {finding["name"]: finding for finding in map(json.loads, lines.splitlines())}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, without the hub."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def workflow(folder: Path, model: str, **arguments: str) -> str:
    document = text_to_image(model)
    document["steps"][0]["pipeline"]["from_pretrained_arguments"] |= arguments
    path = folder / "drawing.json"
    path.write_text(json.dumps(document))
    return str(path)


def test_a_machine_that_lacks_nothing(tmp_path: Path) -> None:
    """In a process of its own, as people see it."""
    storage = tmp_path / "storage"
    done = subprocess.run(
        [sys.executable, "-m", "dw", "doctor", "--json", "shapes", "--storage", str(storage)],
        cwd=tmp_path,
        env={**os.environ, "DW_WORKFLOW_DIR": str(EXAMPLES), "DW_DEVICE": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = by_name(done.stdout)
    failed = [finding for finding in found.values() if finding["state"] == "failed"]
    assert (done.returncode, failed, done.stderr) == (0, [], "")
    assert found["device"]["found"].startswith("cpu, torch ")
    assert found["storage"]["found"].endswith("no signed URLs")
    assert not [path for path in storage.rglob("*") if path.is_file()]
    assert found[str(EXAMPLES / "shapes.json")]["found"] == "valid, and its models are here"


def test_people_read_each_remedy_below_what_failed(
    doctor: Doctor, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--require-env", "BUCKET_KEY"]) == 1
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("FAILED   BUCKET_KEY: the environment variable is not set")
    assert lines[at + 1] == "         -> export BUCKET_KEY=..."
    assert lines[-1].endswith(" 1 failed")


def test_no_space(doctor: Doctor, tmp_path: Path) -> None:
    with full_disk(tmp_path / "outputs"):
        code, found = doctor()
    assert code == 1
    assert found["outputs"]["state"] == "failed"
    assert found["outputs"]["found"] == "outputs: No space left on device"
    assert found["outputs"]["remedy"] == "DW_OUTPUT_DIR=FOLDER writes elsewhere"


def test_no_write(doctor: Doctor, hub: Path) -> None:
    with read_only_disk(hub):
        code, found = doctor()
    assert code == 1
    assert found["models' cache"]["found"].endswith("Read-only file system")
    assert found["models' cache"]["remedy"] == "HF_HUB_CACHE=FOLDER names another"


def test_an_old_torch(doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = tmp_path / "old" / "torch-2.1.0.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path / "old"))
    code, found = doctor()
    assert code == 1
    assert found["torch"]["found"].startswith("2.1.0 is installed, torch>=")
    assert found["torch"]["remedy"].startswith("pip install 'torch>=")


def test_a_torch_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libcudart.so.12 is missing')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (finding,) = check_device("auto")
    assert (finding.name, finding.state) == ("torch", "failed")
    assert finding.found == "cannot be imported: OSError: libcudart.so.12 is missing"


def test_a_port_that_is_taken(doctor: Doctor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        code, found = doctor("--port", port)
    assert code == 1
    assert found[f"port {port}"]["found"] == f"127.0.0.1:{port}: Address already in use"


def test_a_variable_that_is_not_set(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setenv("SECRET", "never told")
    names = ("BUCKET_KEY", "EMPTY", "SECRET")
    code, found = doctor(*(word for name in names for word in ("--require-env", name)))
    assert code == 1
    assert found["BUCKET_KEY"]["found"] == "the environment variable is not set"
    assert found["EMPTY"]["found"] == "the environment variable is empty"
    assert found["SECRET"]["found"] == "is set"


def test_a_storage_that_cannot_be_reached(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens
        monkeypatch.setenv("AWS_ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        code, found = doctor("--storage", "s3://bucket/results")
    assert code == 1
    assert found["storage"]["found"].startswith("s3://bucket/results: ")
    assert "credentials" in found["storage"]["remedy"]


def test_a_model_with_a_missing_shard(doctor: Doctor, tmp_path: Path, sd15: Path) -> None:
    model = shutil.copytree(sd15, tmp_path / "model")
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    index = {"metadata": {}, "weight_map": {"conv_in.weight": "model-00002-of-00002.safetensors"}}
    weights.with_name(f"{weights.name}.index.json").write_text(json.dumps(index))
    weights.unlink()
    path = workflow(tmp_path, "model")
    code, found = doctor(path)
    assert code == 1
    assert "model-00002-of-00002.safetensors" in found["drawing.json"]["found"]


def test_a_wrong_digest(doctor: Doctor, tmp_path: Path, sd15: Path, hub: Path) -> None:
    """In the hub's cache, where each file is a link to one that is named by its digest."""
    repository = hub / "models--tiny--model"
    snapshot = repository / "snapshots" / ("a" * 40)
    shutil.copytree(sd15, snapshot)
    (repository / "blobs").mkdir()
    for path in [path for path in snapshot.rglob("*") if path.is_file()]:
        content = path.read_bytes()
        digest = (
            hashlib.sha256(content)
            if path.suffix == ".safetensors"
            else hashlib.sha1(b"blob %d\0" % len(content) + content)
        ).hexdigest()
        path.replace(repository / "blobs" / digest)
        path.symlink_to(repository / "blobs" / digest)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    path = workflow(tmp_path, "tiny/model")
    code, found = doctor(path, "--deep")
    assert code == 0
    assert found["tiny/model"]["found"].endswith("files have the digests that the hub gave")

    weights = (snapshot / "vae" / "diffusion_pytorch_model.safetensors").resolve()
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    code, found = doctor(path, "--deep")
    assert code == 1
    assert found["tiny/model"]["found"].endswith("other bytes than the hub has")
    assert str(weights) in found["tiny/model"]["remedy"]


def test_a_model_without_a_revision_may_be_another_one_tomorrow(
    doctor: Doctor, tmp_path: Path, hub: Path
) -> None:
    code, found = doctor(workflow(tmp_path, "tiny/model"))
    assert code == 0
    assert found["tiny/model"]["state"] == "warning"
    assert "not in the" in found["drawing.json"]["found"]
    _, found = doctor(workflow(tmp_path, "tiny/model", revision="b" * 40))
    assert "tiny/model" not in found


def test_a_workflow_that_does_not_exist(doctor: Doctor) -> None:
    code, found = doctor("nothing")
    assert code == 1
    assert found["nothing"]["found"] == "unknown workflow 'nothing'"


GPU = {"name": "H100", "capability": [9, 0], "free": 70 * 10**9, "total": 80 * 10**9}
OLD_GPU = {**GPU, "name": "Quadro P6000", "capability": [6, 1]}
FACTS = {
    "torch": "2.13.0",
    "built_for": "CUDA 12.8",
    "gpus": [GPU],
    "architectures": ["sm_75", "sm_80", "sm_90"],
    "why_no_gpu": None,
    "has_mps": False,
}
NO_DRIVER = {"gpus": [], "why_no_gpu": "Found no NVIDIA driver on your system."}


@pytest.mark.parametrize(
    ("facts", "wanted", "state", "found"),
    [
        ({}, "auto", "ok", "H100, 70.0 GB free of 80.0 GB"),
        ({}, "cuda:0", "ok", "H100, 70.0 GB free of 80.0 GB"),
        ({}, "cuda:1", "failed", "cuda:1: torch 2.13.0 for CUDA 12.8: there is no GPU 1"),
        ({}, "cpu", "ok", "cpu, torch 2.13.0 for CUDA 12.8"),
        ({}, "mps", "failed", "mps: torch 2.13.0 for CUDA 12.8 sees no such device"),
        (
            NO_DRIVER,
            "cuda",
            "failed",
            "cuda: torch 2.13.0 for CUDA 12.8: Found no NVIDIA driver on your system.",
        ),
        (
            NO_DRIVER,
            "auto",
            "warning",
            "torch 2.13.0 for CUDA 12.8; Found no NVIDIA driver on your system.; the CPU is used",
        ),
        (
            {"gpus": [OLD_GPU]},
            "auto",
            "failed",
            "Quadro P6000 is sm_61, and this torch has code for sm_75, sm_80, sm_90",
        ),
        ({"gpus": [{**GPU, "capability": [8, 6]}]}, "auto", "ok", "H100, 70.0 GB free of 80.0 GB"),
        ({"gpus": [{**GPU, "free": 10**9}]}, "auto", "warning", "H100, 1.0 GB free of 80.0 GB"),
        (
            {"gpus": [{**GPU, "error": "CUDA error: unspecified launch failure"}]},
            "auto",
            "failed",
            "H100 cannot be used: CUDA error: unspecified launch failure",
        ),
        ({"has_mps": True, "built_for": "CPU"}, "auto", "ok", "mps, torch 2.13.0 for CPU"),
    ],
)
def test_what_torch_says_of_devices(
    facts: dict[str, Any], wanted: str, state: str, found: str
) -> None:
    (finding,) = judged({**FACTS, **facts}, wanted)
    assert isinstance(finding, Finding)
    assert (finding.name, finding.state, finding.found) == ("device", state, found)
    assert bool(finding.remedy) is (state != "ok")

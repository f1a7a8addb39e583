"""The worker in four tests, by hand (`python test_worker.py`) or under pytest.

A real worker process runs examples/test.json on tiny stand-ins for the models: no GPU, no network.
"""

from __future__ import annotations

import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from PIL import Image

from dw.events import Clear, Cleared, Finished, Report, Reported, Run
from dw.settings import Settings
from dw.worker.client import LocalWorkerClient

WORKFLOW = Path(__file__).parent / "examples" / "test.json"


def run(client: LocalWorkerClient, output_dir: Path) -> Finished:
    text = WORKFLOW.read_text(encoding="utf-8")
    command = Run(client.next_id(), str(WORKFLOW), text, {}, str(output_dir), seed=7, rehearse=True)
    finished = client.submit(command).result()
    assert isinstance(finished, Finished), finished
    return finished


def worker_lifecycle(client: LocalWorkerClient, output_dir: Path) -> None:
    """A run starts the worker, the next one finds it, and stop leaves no process."""
    run(client, output_dir)
    status = client.status()
    assert status.state == "idle"
    assert status.pid is not None
    run(client, output_dir)
    assert client.status().pid == status.pid
    client.stop()
    assert client.status().state == "none"
    assert not psutil.pid_exists(status.pid)


def memory_status(client: LocalWorkerClient, output_dir: Path) -> None:
    """The report counts what is loaded, component by component."""
    run(client, output_dir)
    reported = client.submit(Report(client.next_id())).result()
    assert isinstance(reported, Reported)
    memory = reported.memory
    assert memory.device
    assert 0 < memory.allocated <= memory.reserved
    assert 0 < memory.free <= memory.total
    assert sum(row.nbytes for row in memory.components) == memory.allocated


def memory_clearing(client: LocalWorkerClient, output_dir: Path) -> None:
    """A clear frees everything, and the next run loads again."""
    run(client, output_dir)
    cleared = client.submit(Clear(client.next_id())).result()
    assert isinstance(cleared, Cleared)
    assert cleared.freed > 0
    assert cleared.survivors == ()
    assert (cleared.memory.allocated, cleared.memory.runs) == (0, 0)
    assert run(client, output_dir).memory.allocated == cleared.freed


def simple_workflow(client: LocalWorkerClient, output_dir: Path) -> None:
    """Two runs of one seed draw the same image, of the size that was asked for."""
    first, second = run(client, output_dir), run(client, output_dir)
    for output in (*first.outputs, *second.outputs):
        with Image.open(output.path) as image:
            assert image.size == (output.width, output.height) == (64, 64)
    assert first.outputs[0].path != second.outputs[0].path
    assert first.outputs[0].sha256 == second.outputs[0].sha256


TESTS: dict[str, Callable[[LocalWorkerClient, Path], None]] = {
    "Worker lifecycle": worker_lifecycle,
    "Memory status reporting": memory_status,
    "Memory clearing": memory_clearing,
    "Simple workflow execution": simple_workflow,
}


@pytest.fixture(scope="module")
def client() -> Iterator[LocalWorkerClient]:
    client = LocalWorkerClient(Settings(standby=False))
    yield client
    client.close()


@pytest.mark.parametrize("test", TESTS.values(), ids=TESTS)
def test_worker(
    test: Callable[[LocalWorkerClient, Path], None], client: LocalWorkerClient, tmp_path: Path
) -> None:
    test(client, tmp_path)


def main() -> int:
    client = LocalWorkerClient(Settings())
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, test) in enumerate(TESTS.items(), start=1):
            try:
                test(client, Path(folder))
            except Exception:
                failed += 1
                print(f"Test {number}: {name} ✗")
                traceback.print_exc()
            else:
                print(f"Test {number}: {name} ✓")
    client.close()
    print(f"Results: {len(TESTS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

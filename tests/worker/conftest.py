import os
from dataclasses import replace

import psutil
import pytest

from dw.codec import from_bytes, to_bytes
from dw.events import Report, Run
from dw.settings import Settings
from dw.worker.client import LocalWorkerClient
from dw.worker.supervision.command_state import Limits

LIMITS = Limits(stall_s=30.0, grace_s=0.5, shutdown_s=1.0, standby_delay_s=0.05, standby=False)

from_bytes(to_bytes(Report(0)))  # imports pydantic, before any answer of a client is timed


@pytest.fixture(autouse=True)
def private_folders(tmp_path, monkeypatch):
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))


@pytest.fixture
def make_client(private_folders):
    """`make_client("segfaults", grace_s=0.1)`: a client whose workers are that child."""
    clients = []

    def make(child: str, *, meter=dict, **limits) -> LocalWorkerClient:
        serve = f"tests.worker.children.{child}:serve"
        limits = replace(LIMITS, **limits)
        client = LocalWorkerClient(Settings(), serve=serve, limits=limits, free_gpu_bytes=meter)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


def a_run(client: LocalWorkerClient, **arguments) -> Run:
    """`steps` of 20 ms, as an obedient child does them."""
    return Run(client.next_id(), "w.json", "{}", arguments, "outputs")


def obey_from_now_on(client: LocalWorkerClient) -> None:
    """The processes that this client makes next are obedient ones, with time enough to boot."""
    client._policy.limits = replace(client._policy.limits, boot_s=30.0)
    client._serve = "tests.worker.children.obedient:serve"


def workers() -> list[psutil.Process]:
    """Every living descendant of this process that a worker is, or that a worker has started."""
    mine = psutil.Process().children(recursive=True)
    return [p for p in mine if _is_alive(p) and "resource_tracker" not in " ".join(_command(p))]


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and os.getpgid(process.pid) != os.getpgid(0)
    except (psutil.NoSuchProcess, ProcessLookupError):
        return False


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []

"""Callers who hang up, dawdle, or send and ask too much: they end alone, and others are served."""

from __future__ import annotations

import gc
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from dw.jobs.job import JobState
from dw.server.limits import MIB, Limits
from tests.jobs.test_queue import hang, until, writes
from tests.server.conftest import RunningServer, Start

WITHIN_S = 60.0
PATIENCE_S = 0.3
STREAM_BYTES = 256 * 1024
"""More than an event stream may take of the server, with the client's end of it in this process."""


@contextmanager
def connected(server: RunningServer, sent: bytes = b"") -> Iterator[socket.socket]:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=WITHIN_S) as connection:
        connection.sendall(sent)
        yield connection


def head(method: str, path: str, **headers: object) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: x"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def post(**headers: object) -> bytes:
    return head("POST", "/v1/jobs", content_type="application/json", **headers)


def rest(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    found = bytearray()
    try:
        while data := connection.recv(65536):
            found += data
    except ConnectionError:
        pass
    return bytes(found)


def refusal(raw: bytes, status: int) -> dict[str, str]:
    """The error in an answer, which has its id."""
    headers, _, body = raw.partition(b"\r\n\r\n")
    assert headers.startswith(f"HTTP/1.1 {status} ".encode()), raw[:200]
    assert b"x-request-id: r_" in headers
    error: dict[str, str] = json.loads(body)["error"]
    return error


def eventually(holds: Callable[[], bool]) -> None:
    give_up = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def resident() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def serves(port: int) -> bool:
    """Whether the server, which is in this process, has a connection from a port."""
    found = psutil.Process().net_connections("tcp")
    return any(each.raddr and each.raddr[1] == port for each in found)


def streaming(server: RunningServer, job_id: str) -> int:
    return len(server.service.queue.events._followers.get(job_id, ()))


@pytest.fixture
def quick(start: Start) -> RunningServer:
    """A server without patience."""
    return start(limits=Limits(max_body=MIB, read_timeout=PATIENCE_S, write_timeout=PATIENCE_S))


# ---------------------------------------------------------------- hanging up


def test_who_hangs_up_in_mid_body_leaves_nothing(
    server: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    form = head("POST", "/v1/files", content_type="multipart/form-data; boundary=x")
    part = b'--x\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
    for sent in (
        post(content_length=100) + b'{"workflow": "demo"',
        post(transfer_encoding="chunked") + b'5\r\n{"wor',
        form.replace(b"\r\n\r\n", b"\r\ncontent-length: 100000\r\n\r\n") + part + b"abc",
    ):
        with connected(server, sent):
            pass
    assert server.http.get("/v1/jobs").json() == {"jobs": []}
    assert server.http.get("/v1/files").json()["data"] == []
    assert [r.message for r in caplog.records if r.levelno >= logging.ERROR] == []


def test_who_hangs_up_in_mid_answer_disturbs_nobody(
    server: RunningServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.worker.answers = [writes(tmp_path / "run", os.urandom(8 * MIB))]
    job_id = server.submit()
    server.ended(job_id)
    with connected(server, head("GET", f"/v1/jobs/{job_id}/outputs/0")) as connection:
        assert connection.recv(1000)
    assert len(server.http.get(f"/v1/jobs/{job_id}/outputs/0").content) == 8 * MIB
    assert [r.message for r in caplog.records if r.levelno >= logging.ERROR] == []


def test_who_hangs_up_in_mid_stream_is_forgotten(start: Start) -> None:
    server = start(answers=[hang])
    job_id = server.submit()
    until(server.service.queue, job_id, [JobState.RUNNING])
    with connected(server, head("GET", f"/v1/jobs/{job_id}/events")) as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        eventually(lambda: streaming(server, job_id) == 1)
    eventually(lambda: streaming(server, job_id) == 0)
    assert server.http.get(f"/v1/jobs/{job_id}").json()["state"] == "running"


# ---------------------------------------------------------------- dawdling


@pytest.mark.parametrize("sent", [b"", b"GET /livez HTT", b"GET /livez HTTP/1.1\r\nhost: x\r\n"])
def test_a_request_that_is_not_begun_or_has_half_a_head_ends(
    quick: RunningServer, sent: bytes
) -> None:
    with connected(quick, sent) as connection:
        assert rest(connection) == b""


def test_a_byte_now_and_then_is_no_head(quick: RunningServer) -> None:
    with connected(quick, b"GET /livez HTTP/1.1\r\nx: ") as connection:
        connection.settimeout(0.02)
        assert until_answered(connection, b"a") == b""


def until_answered(connection: socket.socket, byte: bytes) -> bytes:
    """Send a byte now and then, until something comes or the connection is closed."""
    give_up = time.monotonic() + WITHIN_S
    while time.monotonic() < give_up:
        try:
            connection.sendall(byte)
            return connection.recv(65536)
        except TimeoutError:
            continue
        except ConnectionError:
            return b""
    pytest.fail("it is still patient")


def test_a_body_that_does_not_come_is_told(quick: RunningServer) -> None:
    with connected(quick, post(content_length=10) + b"{") as connection:
        error = refusal(rest(connection), 408)
    assert (error["error_type"], error["message"]) == (
        *("request_timeout", "1 bytes of the body came, too slowly"),
    )


def test_a_body_of_a_byte_now_and_then_is_too_slow(quick: RunningServer) -> None:
    with connected(quick, post(content_length=10**6)) as connection:
        connection.settimeout(0.02)
        assert refusal(until_answered(connection, b" "), 408)["error_type"] == "request_timeout"


def test_an_answer_that_nobody_reads_ends(start: Start, tmp_path: Path) -> None:
    size = 64 * MIB  # more than the buffers of a connection take
    server = start(
        answers=[writes(tmp_path / "run", b"\0" * size)],
        limits=Limits(write_timeout=PATIENCE_S),
    )
    job_id = server.submit()
    server.ended(job_id)
    with connected(server, head("GET", f"/v1/jobs/{job_id}/outputs/0")) as connection:
        port = connection.getsockname()[1]
        eventually(lambda: serves(port))
        eventually(lambda: not serves(port))
        assert len(rest(connection)) < size
    assert server.http.get("/livez").status_code == 200


# ---------------------------------------------------------------- too much


def test_a_gigabyte_is_refused_before_it_comes(server: RunningServer) -> None:
    with connected(server, post(content_length=10**9)) as connection:
        error = refusal(rest(connection), 413)
    assert error["message"] == f"the body has more than {32 * MIB} bytes"


def chunks_until_refused(server: RunningServer, path: str = "/v1/jobs") -> tuple[int, bytes]:
    """The bytes of a body in chunks that are sent before the server has enough, and its answer."""
    chunk = b"%x\r\n" % MIB + b" " * MIB + b"\r\n"
    begin = head("POST", path, content_type="application/json", transfer_encoding="chunked")
    count = 0
    with connected(server, begin) as connection:
        try:
            while count < 1024:
                connection.sendall(chunk)
                count += 1
        except ConnectionError:
            pass
        return count * MIB, rest(connection)


def test_chunks_without_end_are_refused_when_they_are_too_many(quick: RunningServer) -> None:
    sent, answer = chunks_until_refused(quick)
    assert refusal(answer, 413)["error_type"] == "payload_too_large"
    assert sent < 64 * MIB  # the limit, and what the buffers of the connection take


@pytest.mark.long
def test_memory_is_bounded_while_gigabytes_come(server: RunningServer) -> None:
    before = resident()
    for _ in range(5):
        chunks_until_refused(server)
    assert resident() - before < 4 * 32 * MIB


def test_an_upload_is_limited_in_the_words_of_its_face(start: Start) -> None:
    server = start(limits=Limits(max_body=1000, max_upload=2 * MIB))
    for size, status in ((MIB, 200), (3 * MIB, 413)):
        answer = server.http.post(
            "/v1/files", files={"file": ("a.png", b"\0" * size)}, data={"purpose": "user_data"}
        )
        assert answer.status_code == status
    assert answer.json()["error"]["code"] == "payload_too_large"
    assert [each["bytes"] for each in server.http.get("/v1/files").json()["data"]] == [MIB]


@pytest.mark.long
def test_an_upload_goes_to_the_disk_as_it_comes(server: RunningServer, tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(400 * MIB)
    before = resident()
    with path.open("rb") as file:
        answer = server.http.post(
            *("/v1/files",), files={"file": file}, data={"purpose": "user_data"}, timeout=300
        )
    assert answer.json()["bytes"] == 400 * MIB
    assert resident() - before < 64 * MIB


def test_more_requests_than_the_limit_are_told_to_wait(start: Start) -> None:
    server = start(answers=[hang], limits=Limits(max_requests=3))
    job_id = server.submit()
    with ExitStack() as stack:
        for _ in range(3):
            sent = head("GET", f"/v1/jobs/{job_id}/events")
            stack.enter_context(connected(server, sent)).recv(1000)
        answer = server.http.get("/v1/models")
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
        assert answer.json()["error"]["code"] == "too_many_requests"
        assert "x-should-retry" not in answer.headers
        assert server.http.get("/livez").status_code == 200
    eventually(lambda: server.http.get("/v1/models").status_code == 200)


@pytest.mark.parametrize("count", [60, pytest.param(500, marks=pytest.mark.long)])
def test_many_open_streams_leave_room_for_others(start: Start, workflows: Path, count: int) -> None:
    text = json.loads((workflows / "demo.json").read_text()) | {"id": "other"}
    (workflows / "other.json").write_text(json.dumps(text))
    server = start(workers=2)
    for client in server.pool.clients:
        client.answers = [hang]
    events, job_id = server.service.queue.events, server.submit()
    until(server.service.queue, job_id, [JobState.RUNNING])
    for client in server.pool.clients:
        client.answers = []
    server.http.get("/livez")
    before = resident()
    with ExitStack() as stack:
        for _ in range(count):
            sent = head("GET", f"/v1/jobs/{job_id}/events")
            stack.enter_context(connected(server, sent)).recv(100)
        eventually(lambda: streaming(server, job_id) == count)
        for step in range(2000):  # more than one job's progress that is kept
            events.add(job_id, {"event": "Stepped", "run_id": 1, "step": step, "steps": 2000})
        assert server.http.get("/livez").status_code == 200
        assert server.ended(server.submit(workflow="other"))["state"] == "succeeded"
        assert resident() - before < count * STREAM_BYTES + 16 * MIB
    eventually(lambda: streaming(server, job_id) == 0)


# ---------------------------------------------------------------- errors before and behind routes


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost x\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
        post(content_length="ten"),
        post(content_length=-1),
        post(transfer_encoding="chunked") + b"zz\r\n",
        head("GET", "/livez", a="b" * 200_000)[:-4],
    ],
)
def test_what_is_no_http_is_told_so_and_has_an_id(server: RunningServer, sent: bytes) -> None:
    with connected(server, sent) as connection:
        assert refusal(rest(connection), 400)["error_type"] == "invalid_request"


def test_a_fault_in_dw_has_its_traceback_in_the_log_alone(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> list[str]:
        raise ZeroDivisionError("a secret of the code")

    monkeypatch.setattr(server.service.catalog, "names", broken)
    answer = server.http.get("/v1/models", headers={"x-request-id": "mine"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert answer.headers["x-request-id"] == "mine"
    assert answer.headers["x-should-retry"] == "false"
    assert "secret" not in answer.text
    assert any("[mine]" in r.message and r.exc_info for r in caplog.records)

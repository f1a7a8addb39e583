"""Storage: what counts as stored is what came back, from a folder and from a real S3 server."""

from __future__ import annotations

import hashlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dw.errors import UsageError
from dw.jobs.job import Artifact
from dw.jobs.storage import LONGEST_URL_S, TRIES, Storage, UploadFailed

PAST = "j_997a726a1664"


def artifact(path: Path, data: bytes = b"picture", content_type: str = "image/png") -> Artifact:
    path.write_bytes(data)
    return Artifact(str(path), content_type, len(data), hashlib.sha256(data).hexdigest())


class S3Server:
    """`rclone serve s3`, which checks signatures and their expiry. A bucket is a folder."""

    def __init__(self, folder: Path) -> None:
        self.bucket = folder / "results"
        self.bucket.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        rclone = shutil.which("rclone", path=str(Path(sys.executable).parent))
        assert rclone
        self._command = [
            *(rclone, "serve", "s3", str(folder), "--addr", f"127.0.0.1:{self.port}"),
            *("--auth-key", "key,secret", "--config", "/dev/null", "--dir-cache-time", "0", "-q"),
        ]
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command)
        give_up = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert time.monotonic() < give_up
            assert self._process.poll() is None
            time.sleep(0.02)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    folder = tmp_path / "s3"
    folder.mkdir()
    server = S3Server(folder)
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    yield server
    server.stop()


def get(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:
        data = answer.read()
        assert isinstance(data, bytes)
        return data


def test_results_are_copied_to_a_folder_by_kind_and_number(tmp_path: Path) -> None:
    made = [
        artifact(tmp_path / "a.png", b"one"),
        artifact(tmp_path / "b.webp", b"two", "image/webp"),
        artifact(tmp_path / "c.mp4", b"three", "video/mp4"),
        artifact(tmp_path / "d.json", b"{}", "application/json"),
    ]
    for url in (str(tmp_path / "store"), f"file://{tmp_path / 'store'}"):
        storage = Storage(url)
        kept = storage.keep(PAST, made)
        names = ("image_0.png", "image_1.webp", "video_0.mp4", "file_0.json")
        assert [each.key for each in kept] == [f"jobs/{PAST}/{name}" for name in names]
        assert [storage.read(each.key) for each in kept] == [b"one", b"two", b"three", b"{}"]
        assert (tmp_path / "store" / "jobs" / PAST / "image_1.webp").read_bytes() == b"two"
        assert storage.signed_url(kept[0].key, 60) is None


def test_what_arrived_is_not_copied_again(tmp_path: Path) -> None:
    first, second = artifact(tmp_path / "a.png", b"one"), artifact(tmp_path / "b.png", b"two")
    storage = Storage(str(tmp_path / "store"))
    (kept,) = storage.keep(PAST, [first])
    (tmp_path / "a.png").unlink()
    assert [each.key for each in storage.keep(PAST, [kept, second])] == [
        f"jobs/{PAST}/image_0.png",
        f"jobs/{PAST}/image_1.png",
    ]


def test_a_signed_url_gives_the_very_bytes_to_anybody(tmp_path: Path, s3: S3Server) -> None:
    data = bytes(range(256)) * 5000
    storage = Storage("s3://results")
    (kept,) = storage.keep(PAST, [artifact(tmp_path / "a.png", data)])
    assert (s3.bucket / kept.key).read_bytes() == data
    url = storage.signed_url(kept.key, 60)
    assert url is not None
    assert get(url) == data
    for forged in (
        url.replace("X-Amz-Signature=", "X-Amz-Signature=0"),
        url.replace("image_0", "image_1"),
        url.replace("X-Amz-Expires=60", "X-Amz-Expires=6000"),
        urlsplit(url)._replace(query="").geturl(),
    ):
        with pytest.raises(urllib.error.HTTPError):
            get(forged)


def test_a_film_is_uploaded_in_parts(tmp_path: Path, s3: S3Server) -> None:
    data = bytes(range(256)) * 50_000  # 12.8 MB
    (kept,) = Storage("s3://results/below").keep(
        PAST, [artifact(tmp_path / "a.mp4", data, "video/mp4")]
    )
    assert (s3.bucket / "below" / kept.key).read_bytes() == data


@pytest.mark.parametrize("seconds", [0, -1, LONGEST_URL_S + 1])
def test_a_url_lives_for_seven_days_at_most(tmp_path: Path, seconds: float) -> None:
    with pytest.raises(UsageError, match="lives for 1 to 604800 seconds"):
        Storage(str(tmp_path)).signed_url("a", seconds)


def test_a_wrong_secret_is_told_and_the_file_stays(
    tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    pauses: list[float] = []
    made = artifact(tmp_path / "a.png")
    with pytest.raises(UploadFailed, match=f"jobs/{PAST}/image_0.png did not arrive in s3://") as e:
        Storage("s3://results", sleep=pauses.append).keep(PAST, [made])
    assert pauses == [0.5, 1.0, 2.0][: TRIES - 1]
    assert any(made.path in str(hint) for hint in e.value.hints)
    assert Path(made.path).read_bytes() == b"picture"


def test_a_server_that_comes_back_gets_the_result(tmp_path: Path, s3: S3Server) -> None:
    s3.stop()
    storage = Storage("s3://results", sleep=lambda _: s3.start())
    (kept,) = storage.keep(PAST, [artifact(tmp_path / "a.png")])
    assert (s3.bucket / kept.key).read_bytes() == b"picture"


def test_a_result_that_is_not_what_was_drawn_is_not_stored(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path / "store"), sleep=lambda _: None)
    made = artifact(tmp_path / "a.png")
    for wrong, message in (
        (artifact(tmp_path / "b.png", b""), "b.png' has 0 bytes, 0 were written"),
        (replace(made, nbytes=8), "has 7 bytes, 8 were written"),
        (replace(made, sha256="0" * 64), "other bytes came back than were sent"),
        (replace(made, path=str(tmp_path / "gone.png")), "gone.png' has 0 bytes, 7 were"),
    ):
        with pytest.raises(UploadFailed, match=message):
            storage.keep(PAST, [wrong])


def test_a_storage_that_loses_bytes_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that says yes to everything and keeps nothing."""
    import obstore

    put = obstore.put
    monkeypatch.setattr(obstore, "put", lambda store, key, _, **options: put(store, key, b""))
    with pytest.raises(UploadFailed, match="0 bytes came back of 7"):
        Storage(str(tmp_path), sleep=lambda _: None).keep(PAST, [artifact(tmp_path / "a.png")])


@pytest.mark.parametrize("url", ["ftp://host/results", "http://host/results", "S4://results"])
def test_an_unknown_storage_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match=r"unknown storage .*file://, s3://, gs://, az://"):
        Storage(url)

"""Storage: where results are copied to, by URL, and the proof that they arrived.

A result counts as stored when it was read back and its SHA-256 equals that of the file. Credentials
and endpoints come from the environment, by the names that the providers' own tools use
(`AWS_ACCESS_KEY_ID`, `GOOGLE_APPLICATION_CREDENTIALS`, `AZURE_STORAGE_ACCOUNT_NAME`, ...).
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from dw.errors import DwError, UsageError
from dw.extras import needing
from dw.jobs.job import Artifact

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SCHEMES = ("file", "s3", "gs", "az")
TRIES = 4
FIRST_PAUSE_S = 0.5
"""Before the second try of an upload; it doubles with each further one."""

LONGEST_URL_S = 604_800.0
"""Seven days: S3 refuses a signed URL of a longer life when it is used, not when it is made."""

_log = logging.getLogger(__name__)


class UploadFailed(DwError):
    """A result did not arrive in the storage. Its file on this machine is unharmed."""


class Storage:
    """Raises UsageError for a URL of another kind, and for one that lacks something."""

    def __init__(self, url: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.url = url
        self._sleep = sleep
        self._is_local = url.startswith("file:") or "://" not in url
        self._store = _opened(url, is_local=self._is_local)

    def keep(self, job_id: str, artifacts: Sequence[Artifact]) -> tuple[Artifact, ...]:
        """Copy the results of a job. Returns them with their keys, such as
        `jobs/j_997a726a1664/image_0.png`, numbered by kind.

        One that has its key arrived earlier and is not copied again. Raises UploadFailed when one
        of them did not arrive after several tries.
        """
        kept: list[Artifact] = []
        numbers: dict[str, int] = {}
        for artifact in artifacts:
            noun = _noun(artifact.content_type)
            number = numbers.get(noun, 0)
            numbers[noun] = number + 1
            key = f"jobs/{job_id}/{noun}_{number}{Path(artifact.path).suffix}"
            if artifact.key != key:
                self._copy(job_id, artifact, key)
            kept.append(replace(artifact, key=key))
        return tuple(kept)

    def remove(self, job_id: str) -> None:
        """Delete all that was stored of a job. What stays behind is logged."""
        import obstore
        from obstore.exceptions import BaseError

        try:
            found = obstore.list(self._store, f"jobs/{job_id}").collect()
            for each in found:
                with suppress(FileNotFoundError):  # somebody else has deleted it
                    obstore.delete(self._store, each["path"])
        except (BaseError, OSError) as error:
            _log.warning("[%s] results stay in %s: %s", job_id, self.url, _in_one_line(error))

    def read(self, key: str) -> bytes:
        """A stored result. Raises FileNotFoundError."""
        import obstore

        return bytes(obstore.get(self._store, key).bytes())

    def signed_url(self, key: str, expires_s: float) -> str | None:
        """A URL under which anybody may GET a result for `expires_s` seconds, at most seven days;
        None where the storage has no such URLs, as a local folder. Raises UsageError."""
        if not 0 < expires_s <= LONGEST_URL_S:
            raise UsageError(
                f"a signed URL lives for 1 to {LONGEST_URL_S:.0f} seconds, got {expires_s:g}"
            )
        if self._is_local:
            return None
        import obstore

        signs: Any = self._store
        return str(obstore.sign(signs, "GET", key, timedelta(seconds=expires_s)))

    def try_out(self) -> bool:
        """Write, read back and delete one small object. Returns whether there are signed URLs.

        Raises UploadFailed.
        """
        import obstore
        from obstore.exceptions import BaseError

        key, sent = f"doctor/{uuid4().hex}", b"written by dw doctor"
        try:
            obstore.put(self._store, key, sent)
            came_back = self.read(key)
            obstore.delete(self._store, key)
        except (BaseError, OSError) as error:
            hints = ["check its address, its credentials and the network"]
            raise UploadFailed(f"{self.url}: {_in_one_line(error)}", hints=hints) from error
        if came_back != sent:
            raise UploadFailed(f"{self.url}: {len(came_back)} other bytes came back")
        return self.signed_url(key, 60.0) is not None

    def _copy(self, job_id: str, artifact: Artifact, key: str) -> None:
        size = Path(artifact.path).stat().st_size if Path(artifact.path).is_file() else 0
        if size == 0 or size != artifact.nbytes:
            raise UploadFailed(
                f"{artifact.path!r} has {size} bytes, {artifact.nbytes} were written"
            )
        pause_s, trouble = FIRST_PAUSE_S, None
        for count in range(1, TRIES + 1):
            if (trouble := self._try_copy(artifact, key)) is None:
                _log.info("[%s] stored %d bytes in %s: %s", job_id, artifact.nbytes, self.url, key)
                return
            _log.warning("[%s] upload of %s, try %d: %s", job_id, key, count, trouble)
            if count < TRIES:
                self._sleep(pause_s)
                pause_s *= 2
        raise UploadFailed(
            f"{key} did not arrive in {self.url}: {trouble}",
            hints=[f"the result is kept in {artifact.path!r}"],
        )

    def _try_copy(self, artifact: Artifact, key: str) -> str | None:
        """What went wrong, or None when the stored bytes are those of the file."""
        import obstore
        from obstore.exceptions import BaseError

        # A folder has no place for the content type.
        attributes = None if self._is_local else {"Content-Type": artifact.content_type}
        try:
            obstore.put(self._store, key, Path(artifact.path), attributes=attributes)
            digest, nbytes = hashlib.sha256(), 0
            for chunk in obstore.get(self._store, key).stream():
                digest.update(chunk)
                nbytes += len(chunk)
        except (BaseError, OSError) as error:
            return _in_one_line(error)
        if nbytes != artifact.nbytes:
            return f"{nbytes} bytes came back of {artifact.nbytes}"
        if digest.hexdigest() != artifact.sha256:
            return "other bytes came back than were sent"
        return None


def _opened(url: str, *, is_local: bool) -> ObjectStore:
    with needing("obstore"):
        from obstore.exceptions import BaseError
        from obstore.store import LocalStore, from_url

    scheme = url.partition("://")[0]
    if not is_local and scheme not in SCHEMES:
        known = ", ".join(f"{each}://" for each in SCHEMES)
        raise UsageError(f"unknown storage {url!r}: a folder, or a URL of {known}")
    # `_copy` tries again, and knows more: that the bytes are right.
    retries: Any = {"max_retries": 0}
    try:
        if is_local:
            folder = Path(url.removeprefix("file://")).expanduser()
            return LocalStore(folder, mkdir=True, automatic_cleanup=True)  # of empty folders
        # Given options replace those of the environment: what an endpoint's URL says is allowed.
        options: Any = {"timeout": "60s", "allow_http": True}
        return from_url(url, retry_config=retries, client_options=options)
    except (BaseError, OSError, ValueError) as error:
        raise UsageError(f"the storage {url!r} cannot be used: {_in_one_line(error)}") from None


def _noun(content_type: str) -> str:
    kind = content_type.partition("/")[0]
    return kind if kind in ("image", "video", "audio", "text") else "file"


def _in_one_line(error: Exception) -> str:
    """Without the Rust structures that follow the sentence."""
    return " ".join(str(error).partition("Debug source:")[0].split())

"""Output files: their names, and the thread that writes and verifies them beside the run.

A file is written under a temporary name in its folder, flushed, read back, compared, decoded and
then renamed, so that a file under its own name is complete. A run ends when its last file is
verified. A result that cannot be written is kept in another form, or elsewhere.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from dw import refusals
from dw.engine.errors import failing
from dw.engine.files import rescue
from dw.engine.media.encoding import Encoded, audible, encode, verify
from dw.engine.media.file_origin import FileOrigin
from dw.engine.media.video import FPS, Reel, Video, encode_video
from dw.errors import DwError, OutOfResources, RunFailed, SetOutputDir
from dw.run_folders import make_folder
from dw.types import OutputFile
from dw.workflow.format.result import Result

_SPILL, _SPILL_CRF = Result.model_validate({"content_type": "video/mp4"}), 4
"""The frames of a spilled video are encoded again later, so that these are nearly lossless."""


def new_run_folder(output_dir: Path, workflow: str, number: int | None = None) -> Path:
    """`{output_dir}/{workflow}/{number}`; without a number, or where that has been given to another
    run, the next one. Raises RunFailed when it cannot be made."""
    try:
        return make_folder(output_dir, workflow, number)
    except OSError as error:
        raise write_failure(error, output_dir / workflow) from error


class OutputWriter:
    """Writes files in one thread. `write` returns at once; `done` and `drain` yield the finished
    files.

    Not thread-safe: one run at a time submits and collects.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer")
        self._pending: list[tuple[str, Future[OutputFile]]] = []
        self._kept: list[OutputFile] = []  # of writes that failed

    def write(
        self,
        step: str,
        path: Path,
        value: Any,
        spec: Result,
        metadata: Mapping[str, Any] | None,
        origin: Callable[[], FileOrigin] | None = None,
    ) -> None:
        """`origin` is asked in the thread of the writer: it may read files."""

        def job() -> OutputFile:
            encoded = None
            try:
                with failing():  # `_next` says where
                    told = None if origin is None else origin()
                    encoded = encode(value, spec, metadata, told)
                    return save(path, encoded, spec.content_type)
            except RunFailed as error:
                self._kept += kept_after(error, path, value, spec.content_type, encoded)
                raise

        self._pending.append((step, self._thread.submit(job)))

    def done(self) -> Iterator[tuple[str, OutputFile]]:
        """The step and the file of each finished write, in the order of submission.

        Raises the error of a write that failed.
        """
        while self._pending and self._pending[0][1].done():
            yield self._next()

    def drain(self) -> Iterator[tuple[str, OutputFile]]:
        """Like `done`, but waits for all."""
        while self._pending:
            yield self._next()

    def _next(self) -> tuple[str, OutputFile]:
        step, future = self._pending.pop(0)
        with failing(lambda: f"step {step!r}, writing"):
            return step, future.result()

    def settle(self) -> list[OutputFile]:
        """Wait for all writes and ignore their failures: the run has failed for another reason.
        What could not be written is among the files as it was kept."""
        finished = []
        for _, future in self._pending:
            with suppress(DwError):
                finished.append(future.result())
        finished += self._kept
        self._pending, self._kept = [], []
        return finished


def save(path: Path, encoded: Encoded, content_type: str) -> OutputFile:
    """Write and verify a file. Raises OutOfResources when the disk is full, RunFailed when it
    cannot be written or is not verified.
    """
    digest = hashlib.sha256(encoded.data).hexdigest()
    # Short, so that the longest name has a temporary one, too.
    temporary = path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}.part")
    try:
        write_bytes(temporary, encoded.data)
        _verify(temporary, encoded, content_type, path, digest)
        temporary.replace(path)
    except OSError as error:
        raise write_failure(error, path) from error
    finally:
        with suppress(OSError):
            temporary.unlink()
    extent = encoded.extent
    return OutputFile(
        str(path),
        content_type,
        len(encoded.data),
        digest,
        extent.width,
        extent.height,
        extent.frames,
        extent.seconds,
        extent.sample_rate,
    )


def kept_after(
    error: RunFailed, path: Path, value: Any, content_type: str, encoded: Encoded | None = None
) -> list[OutputFile]:
    """Keep a result that could not be written to `path`, and have the error say where.

    What was encoded is kept in another folder, or else the value in another form. No file if all of
    that fails.
    """
    kept = _kept(path, value, content_type, encoded)
    where = f"it is kept as {kept.path!r}" if kept else "it could not be kept elsewhere"
    error.message += f"; {where}"
    return [kept] if kept else []


def _kept(path: Path, value: Any, content_type: str, encoded: Encoded | None) -> OutputFile | None:
    with suppress(DwError), failing():  # the first failure is the one to tell
        for folder in rescue.folders(path):
            forms = rescue.forms(value)
            if encoded is not None:
                forms = chain([(path.suffix, content_type, encoded)], forms)
            for suffix, kind, other in forms:
                if (folder / path.name).with_suffix(suffix) == path:
                    continue  # that failed
                with suppress(RunFailed):
                    return save((folder / path.name).with_suffix(suffix), other, kind)
            if folder != path.parent:
                folder.rmdir()  # nothing could be written into it
    return None


def spilled(video: Video, path: Path) -> tuple[Video, OutputFile]:
    """The video with its frames in a file, and that file. Its audio stays in memory, unchanged.

    Raises RunFailed when the file cannot be written.
    """
    content_type = _SPILL.content_type
    with failing(lambda: "writing a segment"):
        frames = encode_video(
            audible(video, _SPILL), content_type, video.fps or FPS, crf=_SPILL_CRF
        )
        output = save(path, Encoded(*frames), content_type)
    return Video(Reel((path, 0, len(video))), video.audio, video.fps), output


def write_bytes(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())  # a full disk or quota may show only here


def write_failure(error: OSError, path: Path) -> RunFailed:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutOfResources(f"no space left for {str(path)!r}", hints=[SetOutputDir()])
    failure = refusals.cannot(f"write {str(path)!r}", error)
    failure.hints = (*refusals.cures(error, of_limits=True), SetOutputDir())
    return failure


def _verify(temporary: Path, encoded: Encoded, content_type: str, path: Path, digest: str) -> None:
    """Raises RunFailed unless the file is what was encoded and can be decoded."""
    with temporary.open("rb") as file:
        try:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                size = len(encoded.data)
                raise RunFailed(f"of {size} bytes written, {file.tell()} were read back")
            verify(file, content_type, encoded.extent)
        except RunFailed as error:
            raise RunFailed(f"{str(path)!r} was not written correctly: {error.message}") from error

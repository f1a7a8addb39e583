"""Output files: their names, and the thread that writes and verifies them beside the run.

A file is written under a temporary name in its folder, flushed, read back, compared, decoded and
then renamed, so that a file under its own name is complete. A run ends when its last file is
verified.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from dw import refusals
from dw.engine.errors import failing
from dw.engine.files.artifacts import artifacts
from dw.engine.media.audio import waveforms
from dw.engine.media.encoding import EXTENSIONS, Encoded, audible, encode, verify
from dw.engine.media.video import FPS, Reel, Video, encode_video
from dw.errors import DwError, OutOfResources, RunFailed, SetOutputDir
from dw.types import OutputFile
from dw.workflow.format.result import Result

NO_FILE_NAME = re.compile(r'[/\\:*?"<>|\x00-\x1f]')
_SPILL, _SPILL_CRF = Result.model_validate({"content_type": "video/mp4"}), 4
"""The frames of a spilled video are encoded again later, so that these are nearly lossless."""
LONGEST_PART = 80  # characters of a result's key; a file name has at most 255 bytes


def new_run_folder(output_dir: Path, workflow: str) -> Path:
    """`{output_dir}/{workflow}/{0001, 0002, ...}`, the next free number; no two runs get one.

    Raises RunFailed when it cannot be made.
    """
    parent = output_dir / workflow
    try:
        parent.mkdir(parents=True, exist_ok=True)
        while True:
            numbers = [int(name) for name in os.listdir(parent) if re.fullmatch(r"\d{4,}", name)]
            folder = parent / f"{max(numbers, default=0) + 1:04d}"
            with suppress(FileExistsError):
                folder.mkdir()
                return folder
    except OSError as error:
        raise write_failure(error, parent) from error


def file_names(
    result: Any, spec: Result, stem: str, result_index: int
) -> Iterator[tuple[str, Any]]:
    """Name and content of each file of one result. `stem` is `{workflow}-{step}.{step index}`."""
    extension = EXTENSIONS[spec.content_type]
    base = f"{spec.file_base_name}{stem}-{result_index}"
    if spec.content_type == "application/json":
        yield f"{base}{extension}", result
        return
    for index, artifact in enumerate(artifacts(result)):
        for part, member in _parts(artifact, spec):
            if member is not None:
                yield f"{base}.{index}{part}{extension}", member


def _parts(artifact: Any, spec: Result) -> Iterator[tuple[str, Any]]:
    """The values that get files of their own, each with its part of the name."""
    is_audio = spec.content_type.startswith("audio/")
    if is_audio and (waves := waveforms(artifact)) is not None:
        artifact = dict(enumerate(waves))
    if not isinstance(artifact, Mapping):
        yield "", artifact
        return
    taken = set()  # in lower case: some file systems ignore it
    for key, value in artifact.items():
        part = base = NO_FILE_NAME.sub("_", str(key))[:LONGEST_PART]
        number = 1
        while part.lower() in taken:
            number += 1
            part = f"{base}_{number}"
        taken.add(part.lower())
        yield f"-{part}", value


class OutputWriter:
    """Writes files in one thread. `write` returns at once; `done` and `drain` yield the finished
    files.

    Not thread-safe: one run at a time submits and collects.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer")
        self._pending: list[tuple[str, Future[OutputFile]]] = []

    def write(
        self, step: str, path: Path, value: Any, spec: Result, metadata: Mapping[str, Any] | None
    ) -> None:
        def job() -> OutputFile:
            return save(path, encode(value, spec, metadata), spec.content_type)

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
        """Wait for all writes and ignore their failures: the run has failed for another reason."""
        finished = []
        for _, future in self._pending:
            with suppress(DwError):
                finished.append(future.result())
        self._pending = []
        return finished


def save(path: Path, encoded: Encoded, content_type: str) -> OutputFile:
    """Write and verify a file. Raises OutOfResources when the disk is full, RunFailed when it
    cannot be written or is not verified.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        write_bytes(temporary, encoded.data)
        digest = _verified(temporary, encoded, content_type, path)
        temporary.replace(path)
    except OSError as error:
        raise write_failure(error, path) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
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


def spilled(video: Video, path: Path) -> tuple[Video, OutputFile]:
    """The video with its frames in a file, and that file. Its audio stays in memory, unchanged."""
    content_type = _SPILL.content_type
    frames = encode_video(audible(video, _SPILL), content_type, video.fps or FPS, crf=_SPILL_CRF)
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


def _verified(temporary: Path, encoded: Encoded, content_type: str, path: Path) -> str:
    """The sha256 of the file. Raises RunFailed unless it is what was encoded and can be decoded."""
    with temporary.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        try:
            if digest != hashlib.sha256(encoded.data).hexdigest():
                size = len(encoded.data)
                raise RunFailed(f"of {size} bytes written, {file.tell()} were read back")
            file.seek(0)
            verify(file, content_type, encoded.extent)
        except RunFailed as error:
            raise RunFailed(f"{str(path)!r} was not written correctly: {error.message}") from error
    return digest

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
import tqdm.auto

from dw.engine import Cancelled, RunControl
from dw.engine.patches import progress_bars
from dw.engine.patches.progress_bars import Bar, Listener


class Ear:
    def __init__(self) -> None:
        self.counted: list[tuple[str, int, int]] = []
        self.reported: list[tuple[str, int, int]] = []

    def listener(self) -> Listener:
        return Listener(lambda *p: self.counted.append(p), lambda *p: self.reported.append(p))


def progress_bar(total: int) -> Bar:
    """As DiffusionPipeline.progress_bar makes it."""
    return Bar(total=total)


def test_every_step_is_counted_and_the_first_and_last_are_reported() -> None:
    ear = Ear()
    with progress_bars.listening(ear.listener()), progress_bar(100) as bar:
        for _ in range(100):
            bar.update()
    assert [done for _, done, _ in ear.counted] == list(range(101))
    assert ear.reported[0] == ("denoise", 0, 100)
    assert ear.reported[-1] == ("denoise", 100, 100)
    assert len(ear.reported) < 20


def test_a_slow_bar_is_reported_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_bars, "REPORT_INTERVAL_S", 0.0)
    ear = Ear()
    with progress_bars.listening(ear.listener()):
        assert list(Bar(range(3))) == [0, 1, 2]
    assert ear.reported == [("load", 1, 3), ("load", 2, 3), ("load", 3, 3)]


def test_short_loads_are_not_reported() -> None:
    ear = Ear()
    with progress_bars.listening(ear.listener()):
        list(Bar(range(3)))
    assert ear.reported == []


def test_a_bar_is_a_place_to_stop() -> None:
    control = RunControl()
    control.cancel()
    bar = iter(Bar(range(5)))
    with progress_bars.listening(Listener(lambda *_: control.check(), lambda *_: None)):
        assert next(bar) == 0
        with pytest.raises(Cancelled):
            next(bar)


class TestDownloadsOfTorch:
    """As facexlib gets its networks."""

    SIZE = 3 * 128 * 1024  # bytes, three of its chunks

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        (tmp_path / "there").write_bytes(bytes(self.SIZE))
        return (tmp_path / "there").as_uri()

    def test_their_bytes_are_counted(self, tmp_path: Path, url: str) -> None:
        ear = Ear()
        with progress_bars.listening(ear.listener()):
            torch.hub.download_url_to_file(url, str(tmp_path / "here"))
        assert ear.counted == [("download", n * self.SIZE // 3, self.SIZE) for n in (1, 2, 3)]

    def test_each_chunk_is_a_place_to_stop(self, tmp_path: Path, url: str) -> None:
        def stop(*_: object) -> None:
            raise Cancelled

        with progress_bars.listening(Listener(stop, stop)), pytest.raises(Cancelled):
            torch.hub.download_url_to_file(url, str(tmp_path / "here"))
        assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_nothing_is_drawn(capfd: pytest.CaptureFixture[str]) -> None:
    with progress_bar(2) as bar:
        bar.set_description("x")
        bar.set_postfix(a=1)
        bar.update()
        bar.refresh()
    assert capfd.readouterr() == ("", "")


def test_bars_of_other_threads_are_heard() -> None:
    ear = Ear()
    with progress_bars.listening(ear.listener()):
        thread = threading.Thread(target=lambda: list(Bar(range(2))))
        thread.start()
        thread.join()
    assert len(ear.counted) == 2


def test_the_libraries_use_it() -> None:
    import diffusers.pipelines.pipeline_utils

    assert tqdm.auto.tqdm is Bar
    assert diffusers.pipelines.pipeline_utils.tqdm is Bar


def test_it_is_in_place_before_diffusers_is_imported() -> None:
    code = (
        "import dw.engine, huggingface_hub.utils as hub, tqdm.auto;"
        "assert issubclass(hub.tqdm, dw.engine.patches.progress_bars.Bar)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

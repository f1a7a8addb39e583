from __future__ import annotations

import pytest

from dw.engine.media.animation import gif_delays_ms, timing


@pytest.mark.parametrize(
    ("delays_ms", "unit_ms", "fps", "counts"),
    [
        ([100], 10, 10, [1]),
        ([40] * 3, 10, 25, [1, 1, 1]),
        ([42, 42, 42], 1, 1000 / 42, [1, 1, 1]),
        ([41, 42, 42], 1, 24, [1, 1, 1]),  # rounded for 24
        ([40, 40, 40, 50] * 2, 10, 8000 / 340, [1] * 8),
        ([10, 20], 10, 2000 / 30, [1, 1]),
        ([200, 100, 500], 10, 10, [2, 1, 5]),
        ([1000, 500], 10, 2, [2, 1]),
        ([80, 40, 50, 40, 130], 10, 24, [2, 1, 1, 1, 3]),  # equal neighbours are one frame
        ([1, 1, 500], 1, 100, [1, 1, 48]),  # faster than is counted
    ],
)
def test_frames_are_shown_for_their_time(
    delays_ms: list[int], unit_ms: int, fps: float, counts: list[int]
) -> None:
    found = timing(delays_ms, unit_ms)
    assert found == (pytest.approx(fps), counts)


@pytest.mark.parametrize("fps", [7, 12, 15, 24, 29.97, 30, 48, 60])
def test_the_delays_of_a_gif_are_read_as_its_rate(fps: float) -> None:
    delays = gif_delays_ms(100, fps)
    found, counts = timing(delays, 10)
    assert found == pytest.approx(fps, rel=0.005)
    assert counts == [1] * 100


@pytest.mark.parametrize(
    ("frames", "fps", "delays_ms"),
    [
        (1, 8, [120]),
        (4, 24, [40, 40, 40, 50]),
        (3, 30, [30, 40, 30]),
        (3, 50, [20] * 3),
        (3, 120, [10, 10, 0]),
    ],
)
def test_a_gif_counts_in_hundredths(frames: int, fps: float, delays_ms: list[int]) -> None:
    assert gif_delays_ms(frames, fps) == delays_ms

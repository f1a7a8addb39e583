from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dw.engine.media.segments import Segment, Splice, planned, samples_at, splices
from dw.workflow.format.chain import FrameSnap


@pytest.mark.parametrize(
    ("frames", "fps", "rate", "sample"),
    [(0, 24, 48_000, 0), (24, 24, 48_000, 48_000), (1, 24, 44_100, 1838), (5, 29.97, 16_000, 2669)],
)
def test_a_frame_has_its_sample(frames: int, fps: float, rate: int, sample: int) -> None:
    assert samples_at(frames, fps, rate) == sample


class TestSplices:
    def test_the_first_has_no_head_and_the_others_fade_within_theirs(self) -> None:
        cuts = list(splices([9, 9, 5], trim=2, fps=10, rate=1000, crossfade_ms=75))
        assert cuts == [Splice(0, 900, 0), Splice(200, 700, 75), Splice(200, 300, 75)]

    def test_a_fade_is_no_longer_than_what_is_trimmed(self) -> None:
        *_, last = splices([9, 9], trim=1, fps=25, rate=1000, crossfade_ms=75)
        assert (last.head, last.fade) == (40, 40)

    def test_nothing_overlaps_when_nothing_is_trimmed(self) -> None:
        *_, last = splices([9, 9], trim=0, fps=25, rate=1000, crossfade_ms=75)
        assert last == Splice(0, 360, 0)

    @given(
        st.lists(st.integers(9, 200), min_size=1, max_size=50),
        st.integers(0, 8),
        st.floats(1, 120),
        st.sampled_from([8000, 24_000, 44_100, 48_000]),
        st.floats(0, 500),
    )
    def test_what_is_kept_lasts_as_long_as_the_frames(
        self, lengths: list[int], trim: int, fps: float, rate: int, crossfade_ms: float
    ) -> None:
        cuts = list(splices(lengths, trim=trim, fps=fps, rate=rate, crossfade_ms=crossfade_ms))
        frames = sum(lengths) - trim * (len(lengths) - 1)
        assert sum(cut.kept for cut in cuts) == samples_at(frames, fps, rate)
        assert all(0 <= cut.fade <= cut.head for cut in cuts)


@pytest.mark.parametrize(
    ("snap", "frames", "up"),
    [
        (FrameSnap(modulus=1), 7, 7),
        (FrameSnap(modulus=4, remainder=1), 77, 77),
        (FrameSnap(modulus=4, remainder=1), 78, 81),
        (FrameSnap(modulus=8, remainder=1, min_frames=25), 3, 25),
        (FrameSnap(modulus=8, remainder=1, max_frames=97), 200, 97),
        (FrameSnap(modulus=8, remainder=1, max_frames=100), 99, 97),
        (FrameSnap(modulus=8, remainder=0), 1, 8),
    ],
)
def test_a_length_is_snapped_up(snap: FrameSnap, frames: int, up: int) -> None:
    assert snap.up(frames) == up
    assert snap.fits(up)


@pytest.mark.parametrize(
    ("snap", "frames"),
    [
        (FrameSnap(modulus=4, remainder=1), 80),
        (FrameSnap(modulus=8, remainder=1, min_frames=25), 17),
        (FrameSnap(modulus=8, remainder=1, max_frames=97), 105),
    ],
)
def test_a_length_that_the_model_cannot_make_does_not_fit(snap: FrameSnap, frames: int) -> None:
    assert not snap.fits(frames)


class TestPlan:
    @pytest.mark.parametrize(
        ("total", "frames", "trim", "snap", "lengths"),
        [
            (81, 81, 1, FrameSnap(modulus=4, remainder=1), [81]),
            (60, 81, 1, FrameSnap(modulus=4, remainder=1), [61]),
            (161, 81, 1, FrameSnap(modulus=4, remainder=1), [81, 81]),
            (162, 81, 1, FrameSnap(modulus=4, remainder=1), [81, 81, 5]),
            (10, 4, 0, FrameSnap(modulus=1), [4, 4, 2]),
            (30, 25, 5, FrameSnap(modulus=8, remainder=1, min_frames=17), [25, 17]),
            (1, 81, 1, FrameSnap(modulus=4, remainder=1), [1]),
        ],
    )
    def test_segments_cover_the_video(
        self, total: int, frames: int, trim: int, snap: FrameSnap, lengths: list[int]
    ) -> None:
        plan = planned(total, frames=frames, trim=trim, snap=snap)
        assert [segment.frames for segment in plan] == lengths

    def test_each_begins_with_the_end_of_the_one_before(self) -> None:
        assert planned(20, frames=9, trim=2, snap=FrameSnap(modulus=1)) == [
            Segment(0, 9),
            Segment(7, 9),
            Segment(14, 6),
        ]

    @given(st.data())
    def test_any_video_is_covered_by_lengths_that_the_model_makes(
        self, data: st.DataObject
    ) -> None:
        modulus = data.draw(st.integers(1, 16))
        remainder, least = data.draw(st.integers(0, modulus - 1)), data.draw(st.integers(1, 40))
        snap = FrameSnap(modulus=modulus, remainder=remainder, min_frames=least)
        frames = snap.up(data.draw(st.integers(1, 200)))
        trim = data.draw(st.integers(0, frames - 1))
        total = data.draw(st.integers(1, 2000))
        plan = planned(total, frames=frames, trim=trim, snap=snap)
        assert all(snap.fits(segment.frames) and segment.frames <= frames for segment in plan)
        shown = plan[0].frames + sum(segment.frames - trim for segment in plan[1:])
        assert shown == plan[-1].begin + plan[-1].frames >= total
        assert shown - total < max(modulus, snap.up(1))
        assert all(segment.frames > trim for segment in plan[1:])

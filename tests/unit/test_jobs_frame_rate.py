"""Frames a minute of a job."""

from __future__ import annotations

import pytest

from trio_afrender.jobs.frame_rate import FrameRate


def test_a_steady_job() -> None:
    rate = FrameRate(15.0)
    found = [rate.update(second // 4, 1000.0 + second) for second in range(0, 1201, 4)]
    assert found[3] is None  # after 12 s
    assert found[4:] == pytest.approx([15.0] * len(found[4:]))


def test_a_time_without_frames_lowers_it_and_ends_it() -> None:
    rate = FrameRate(2.0)
    for second in range(101):
        rate.update(second, float(second))
    assert rate.update(100, 200.0) == pytest.approx(30.0)
    assert rate.update(100, 390.0) == pytest.approx(2.0)  # 10 frames in five minutes
    assert rate.update(100, 401.0) is None


def test_a_long_wait_before_the_first_frame_does_not_count() -> None:
    rate = FrameRate(2.0)
    rate.update(0, 0.0)
    assert rate.update(10, 86_400.0) == pytest.approx(2.0)


def test_a_clock_that_is_set_back() -> None:
    rate = FrameRate(2.0)
    for second in range(61):
        rate.update(second, 10_000.0 + second)
    assert rate.update(61, 5_000.0) == pytest.approx(61.0)
    assert rate.update(62, 5_001.0) == pytest.approx(61.0, rel=0.02)


def test_restarted_tasks_begin_anew() -> None:
    rate = FrameRate(2.0)
    rate.update(0, 0.0)
    assert rate.update(60, 60.0) == pytest.approx(60.0)
    assert rate.update(10, 70.0) is None
    assert rate.update(12, 80.0) == pytest.approx(12.0)

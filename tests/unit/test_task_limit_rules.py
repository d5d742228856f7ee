"""When a limit is reached, and when the next one can be reached."""

from __future__ import annotations

import math

import pytest

from trio_afrender.config import Limits
from trio_afrender.task.monitors.limits import Usage, next_look, over_limit

USAGE = Usage(running=100.0, silent=20.0, stalled=50.0, printed=1000, resident=2000)


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        (Limits(), ""),
        (Limits(run_time=100.5, no_output=20.5, no_progress=50.5, output=1001), ""),
        (Limits(run_time=100), "it runs for 100 s, the limit run_time is 100 s"),
        (Limits(no_output=20), "no output for 20 s, the limit no_output is 20 s"),
        (Limits(no_progress=49.5), "no progress for 50 s, the limit no_progress is 49.5 s"),
        (Limits(output=1000), "it printed 1000 bytes, the limit output is 1000"),
        (Limits(memory=2001), ""),
        (Limits(memory=2000), "its processes have 2.0 KiB of memory, the limit memory is 2.0 KiB"),
        (Limits(run_time=1, no_output=1), "it runs for 100 s, the limit run_time is 1 s"),
    ],
)
def test_the_first_limit_that_is_reached_is_named(limits: Limits, text: str) -> None:
    assert over_limit(limits, USAGE) == text


def test_without_a_parser_progress_is_unknown_and_not_limited() -> None:
    usage = Usage(running=100.0, silent=0.0, stalled=None, printed=0)
    assert over_limit(Limits(memory=1), usage) == ""  # nor is memory that is not measured
    assert over_limit(Limits(no_progress=1), usage) == ""
    assert next_look(Limits(no_progress=1), usage) == math.inf


@pytest.mark.parametrize(
    ("limits", "seconds"),
    [
        (Limits(), math.inf),
        (Limits(output=5), math.inf),
        (Limits(run_time=130), 30),
        (Limits(run_time=130, no_output=25), 5),
        (Limits(run_time=130, no_output=25, no_progress=51), 1),
        (Limits(run_time=50), 0),
        (Limits(run_time=130, memory=5), 30),
    ],
)
def test_the_next_look_is_when_the_first_limit_can_be_reached(
    limits: Limits, seconds: float
) -> None:
    assert next_look(limits, USAGE) == seconds

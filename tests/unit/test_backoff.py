"""Delays between attempts: growth, jitter, caps."""

from __future__ import annotations

import random

import pytest

from trio_afrender.backoff import Backoff


class _NoJitter:
    """Returns the upper limit, and records the limits of each call."""

    def __init__(self) -> None:
        self.limits: list[tuple[float, float]] = []

    def uniform(self, a: float, b: float, /) -> float:
        self.limits.append((a, b))
        return b


def test_delays_double_up_to_the_idle_cap() -> None:
    backoff = Backoff(_NoJitter())
    assert [backoff.delay(held=False) for _ in range(9)] == [
        0.5,
        1,
        2,
        4,
        8,
        16,
        32,
        60,
        60,
    ]


@pytest.mark.parametrize(("zombie", "cap"), [(16.0, 4.0), (40.0, 5.0), (2.0, 0.5)])
def test_delays_are_short_while_something_is_held(zombie: float, cap: float) -> None:
    backoff = Backoff(_NoJitter())
    delays = [backoff.delay(held=True, zombie=zombie) for _ in range(6)]
    assert max(delays) == cap
    assert delays[-1] == cap


def test_the_cap_depends_on_what_is_held_now() -> None:
    backoff = Backoff(_NoJitter())
    for _ in range(10):
        backoff.delay(held=False)
    assert backoff.delay(held=True) == 4
    assert backoff.delay(held=False) == 60


def test_jitter_is_between_half_the_delay_and_the_delay() -> None:
    jitter = _NoJitter()
    backoff = Backoff(jitter)
    backoff.delay(held=False)
    backoff.delay(held=False)
    assert jitter.limits == [(0.25, 0.5), (0.5, 1)]


def test_reset_starts_over() -> None:
    backoff = Backoff(_NoJitter())
    backoff.delay(held=False)
    backoff.delay(held=False)
    backoff.reset()
    assert backoff.delay(held=False) == 0.5


def test_a_seeded_jitter_repeats_the_delays() -> None:
    first, second = (Backoff(random.Random(7)) for _ in range(2))  # noqa: S311 - jitter
    assert [first.delay(held=False) for _ in range(5)] == [
        second.delay(held=False) for _ in range(5)
    ]
    assert 0.25 <= Backoff().delay(held=True) <= 0.5

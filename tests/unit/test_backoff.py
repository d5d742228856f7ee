"""Waits between tries: growth, jitter, caps."""

from __future__ import annotations

import random

import pytest

from trio_afrender.backoff import Backoff


class _Highest:
    """Dice that always show the upper end, and remember what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, float]] = []

    def uniform(self, a: float, b: float, /) -> float:
        self.asked.append((a, b))
        return b


def test_doubles_up_to_the_idle_cap() -> None:
    backoff = Backoff(first=1, dice=_Highest())
    assert [backoff.delay(held=False) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.parametrize(("zombie", "cap"), [(16.0, 4.0), (40.0, 5.0), (2.0, 0.5)])
def test_stays_short_while_something_is_held(zombie: float, cap: float) -> None:
    backoff = Backoff(first=1, dice=_Highest())
    waits = [backoff.delay(held=True, zombie=zombie) for _ in range(6)]
    assert max(waits) == cap
    assert waits[-1] == cap


def test_the_cap_follows_what_is_held_now() -> None:
    backoff = Backoff(first=1, dice=_Highest())
    for _ in range(10):
        backoff.delay(held=False)
    assert backoff.delay(held=True) == 4
    assert backoff.delay(held=False) == 60


def test_jitter_is_between_half_and_whole() -> None:
    dice = _Highest()
    backoff = Backoff(first=2, dice=dice)
    backoff.delay(held=False)
    backoff.delay(held=False)
    assert dice.asked == [(1, 2), (2, 4)]


def test_reset_starts_over() -> None:
    backoff = Backoff(first=1, dice=_Highest())
    backoff.delay(held=False)
    backoff.delay(held=False)
    backoff.reset()
    assert backoff.delay(held=False) == 1


def test_dice_make_it_repeatable() -> None:
    first, second = (Backoff(dice=random.Random(7)) for _ in range(2))  # noqa: S311 - jitter
    assert [first.delay(held=False) for _ in range(5)] == [
        second.delay(held=False) for _ in range(5)
    ]
    assert 0.25 <= Backoff().delay(held=True) <= 0.5


@pytest.mark.parametrize("bad", [{"first": 0}, {"first": -1}, {"factor": 0.5}])
def test_refuses_waits_that_shrink(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="backoff"):
        Backoff(**bad)  # type: ignore[arg-type] # the values are numbers, whatever the names

"""Percents and rates from counters, and shortened names, in tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_afrender.hostinfo.identity import shorten_cpu, shorten_host, shorten_user
from trio_afrender.hostinfo.rates import CounterSample, RateCounter, make_shares, next_tick

ticks = st.floats(0, 1e12)


@pytest.mark.parametrize(
    ("before", "now", "shares"),
    [
        ((0, 0, 0), (50, 25, 25), [50, 25, 25]),
        ((10, 10), (11, 12), [33, 66]),
        ((10, 10), (10, 10), [0, 0]),
        ((10, 10), (9, 20), [0, 100]),
        ((10, 10), (0, 0), [0, 0]),
    ],
)
def test_shares_are_parts_of_the_growth(
    before: tuple[float, ...], now: tuple[float, ...], shares: list[int]
) -> None:
    assert make_shares(before, now) == shares


@given(st.lists(st.tuples(ticks, ticks), max_size=7))
def test_shares_are_percents_for_any_counters(pairs: list[tuple[float, float]]) -> None:
    shares = make_shares([old for old, _ in pairs], [new for _, new in pairs])
    assert all(0 <= share <= 100 for share in shares)
    assert sum(shares) <= 100


def test_the_first_values_have_no_rate() -> None:
    growth = CounterSample().advance({"sda": 1e9}, 1000.0)
    assert (growth.total, growth.most, growth.seconds, growth.rate()) == (0, 0, 0, 0)


def test_rates_are_sums_over_devices_a_second() -> None:
    counters = CounterSample()
    counters.advance({"a": 0, "b": 100}, 10.0)
    growth = counters.advance({"a": 4096, "b": 2148}, 12.0)
    assert (growth.total, growth.most, growth.seconds) == (6144, 4096, 2)
    assert growth.rate() == 3
    assert counters.advance({"a": 4097, "b": 2148}, 13.0).rate() == 1  # rounded up


def test_new_removed_and_restarted_devices_have_no_growth() -> None:
    counters = CounterSample()
    counters.advance({"a": 5000, "gone": 1}, 0.0)
    assert counters.advance({"a": 10, "new": 99_999}, 1.0).rate() == 0
    assert counters.advance({"a": 1034, "new": 99_999}, 2.0).rate() == 1


def test_a_clock_that_does_not_advance_gives_no_rate() -> None:
    counters = CounterSample()
    counters.advance({"a": 0}, 10.0)
    assert counters.advance({"a": 9999}, 10.0).rate() == 0
    assert counters.advance({"a": 99_999}, 5.0).rate() == 0
    assert counters.advance({"a": 999_999}, 5.0 + 1e-15).rate() == 0
    assert RateCounter(total=5.0, most=5.0, seconds=2e-311).rate() == 0


@given(st.lists(st.tuples(st.dictionaries(st.text(max_size=1), ticks), ticks), max_size=5))
def test_rates_are_never_negative(steps: list[tuple[dict[str, float], float]]) -> None:
    counters = CounterSample()
    assert all(counters.advance(values, now).rate() >= 0 for values, now in steps)


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("Intel(R) Xeon(R) Platinum 8581C CPU @ 2.10GHz", "Intel Xeon Platinum 8581C"),
        ("AMD Ryzen 9 7950X 16-Core Processor", "AMD Ryzen 9 7950X"),
        ("AMD EPYC 7763 64-Core Processor                ", "AMD EPYC 7763"),
        ("AMD Ryzen 7 PRO 5850U with Radeon Graphics", "AMD Ryzen 7 PRO 5850U"),
        ('bad "quoted\\ \x1b[2J name', "bad quoted [2J name"),
        ("", ""),
    ],
)
def test_processors_have_short_names(name: str, short: str) -> None:
    assert shorten_cpu(name) == short


def test_hosts_and_users_are_lower_case_without_a_domain() -> None:
    assert shorten_host("Render01.Farm.Example") == "render01"
    assert shorten_user("STUDIO\\Ann") == "ann"
    assert shorten_user("studio/Bob") == "bob"
    assert shorten_user("a\\b/C") == "c"
    assert shorten_user("eve") == "eve"


@pytest.mark.parametrize(
    ("now", "wait"), [(0.0, 5.0), (1.0, 4.0), (2.5, 2.5), (3.0, 7.0), (4.9, 5.1), (100.0, 5.0)]
)
def test_periodic_measurements_happen_at_the_same_moments(now: float, wait: float) -> None:
    assert next_tick(now, 5.0) == pytest.approx(now + wait)


@given(st.floats(min_value=0, max_value=1e9), st.floats(min_value=0.1, max_value=100))
def test_the_same_moment_is_the_same_number(now: float, period: float) -> None:
    """Of a clock that is read twice: the runs that wait for it share one timer."""
    tick = next_tick(now, period)
    assert period / 2 <= tick - now <= period * 3 / 2 + 1e-6
    later = now + period / 1000
    assert next_tick(later, period) == tick or tick - later < period / 2

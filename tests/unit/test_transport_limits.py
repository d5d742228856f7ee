"""Seats of unproven connections, and log lines that others can cause."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_afrender.transport.connection_seats import ConnectionSeats, address_group
from trio_afrender.transport.repeated_lines import MAX_KEYS, RepeatedLines


@pytest.mark.parametrize(
    ("host", "group"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("memory", "memory"),
    ],
)
def test_what_counts_as_one_address(host: str, group: str) -> None:
    assert address_group(host) == group


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=60))
def test_seats_are_never_more_than_the_limits(steps: list[tuple[str, bool]]) -> None:
    """Whatever comes and leaves: a new connection has its seat, the oldest of its group goes."""
    seats = ConnectionSeats(total=6, share=3)
    holding: list[tuple[str, ExitStack]] = []
    for host, leaves in steps:
        if leaves and holding:
            holding.pop(0)[1].close()
            continue
        stack = ExitStack()
        entry = (host, stack)
        holding.append(entry)
        stack.enter_context(seats.take(host, partial(holding.remove, entry)))
        assert entry in holding
        assert len(holding) <= 6
        assert all([h for h, _ in holding].count(each) <= 3 for each in "abcd")


def test_the_address_with_most_seats_gives_one_up() -> None:
    seats, gone = ConnectionSeats(total=5, share=4), list[str]()
    with ExitStack() as stack:
        for name in ("a1", "a2", "a3", "a4", "b1", "c1"):
            stack.enter_context(seats.take(name[0], partial(gone.append, name)))
        assert gone == ["a1"]
        assert seats.displaced == 1


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_repeated_lines_are_summed_up(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    lines = RepeatedLines(logging.getLogger("test"), clock, lines=2)
    for number in range(10):
        lines.log(logging.WARNING, "192.0.2.7", "bad tokens", "token %d is unknown", number)
    lines.log(logging.WARNING, "192.0.2.8", "bad tokens", "token of another")
    assert [record.getMessage() for record in caplog.records] == [
        "token 0 is unknown",
        "token 1 is unknown",
        "token of another",
    ]
    caplog.clear()
    clock.now = 59.0
    lines.flush()
    assert not caplog.records
    clock.now = 60.0
    lines.log(logging.WARNING, "192.0.2.7", "bad tokens", "again")
    lines.flush()
    assert [record.getMessage() for record in caplog.records] == [
        "bad tokens: 8 more from 192.0.2.7 within 60 s",
        "again",
    ]


def test_many_sources_share_a_count(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    lines = RepeatedLines(logging.getLogger("test"), clock, lines=1)
    for number in range(3 * MAX_KEYS):
        lines.log(logging.WARNING, f"host-{number}", "bad tokens", "one")
    assert len(caplog.records) == MAX_KEYS + 1
    assert len(lines._windows) <= MAX_KEYS + 1
    clock.now = 60.0
    lines.flush()
    assert caplog.records[-1].getMessage() == f"bad tokens: {2 * MAX_KEYS - 1} more within 60 s"
    assert not lines._windows

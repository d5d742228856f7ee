"""The place of a process in a table of processes that changes while it is looked at."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from trio_afrender.supervisor import peer_credentials
from trio_afrender.supervisor.peer_credentials import is_inside_task

INIT, SUPERVISOR, TASK_SUPERVISOR, LEADER, MEMBER = 1, 10, 11, 12, 13
TABLE = {
    INIT: (0, b"init"),
    SUPERVISOR: (INIT, b"af:supervisor"),
    TASK_SUPERVISOR: (SUPERVISOR, b"af:task"),
    LEADER: (TASK_SUPERVISOR, b"sh"),
    MEMBER: (LEADER, b"sh"),
}
Table = dict[int, tuple[int, bytes]]


def use(
    monkeypatch: pytest.MonkeyPatch, table: Table, act: Callable[[int], None] = lambda pid: None
) -> None:
    """Have processes read from a table; `act` is called before each one is read."""

    def read(pid: int) -> tuple[int, bytes] | None:
        act(pid)
        return table.get(pid)

    monkeypatch.setattr(peer_credentials, "read_parent", read)


def test_a_member_whose_parent_ends_at_this_moment_is_inside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = dict(TABLE)

    def end(pid: int) -> None:
        if pid == LEADER:
            table.pop(LEADER, None)
            table[MEMBER] = (TASK_SUPERVISOR, b"sh")

    use(monkeypatch, table, end)
    assert is_inside_task(MEMBER)


def test_a_member_is_inside_if_two_of_its_ancestors_end_at_this_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = {**TABLE, 14: (MEMBER, b"sh"), 15: (14, b"sh")}

    def end(pid: int) -> None:
        if pid == LEADER:
            for each in (LEADER, MEMBER, 14):
                table.pop(each, None)
            table[15] = (TASK_SUPERVISOR, b"sh")

    use(monkeypatch, table, end)
    assert is_inside_task(15)


def test_a_member_below_a_chain_that_is_too_long_to_look_at_is_inside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chain = range(100, 101 + peer_credentials._MAX_STEPS)
    deep = {pid: (pid - 1 if pid > 100 else LEADER, b"sh") for pid in chain}
    use(monkeypatch, {**TABLE, **deep})
    assert is_inside_task(chain[-1])


def test_a_process_whose_parent_cannot_be_seen_is_not_inside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = {20: (INIT, b"sh"), 21: (20, b"agent")}
    use(monkeypatch, table)
    assert not is_inside_task(21)

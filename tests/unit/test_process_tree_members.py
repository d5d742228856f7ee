"""Who belongs to a tree, and what the kernel's texts mean."""

from __future__ import annotations

import errno
import os

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_afrender.process.exit_status import make_status
from trio_afrender.process.interfaces import Launch
from trio_afrender.process.launch_errors import explain_launch_error
from trio_afrender.process.procfs import (
    ProcessFacts,
    parse_children,
    parse_stat,
    parse_token,
)
from trio_afrender.process.tree_members import find_members

STAT = (
    b"4242 (na) me (x) S 17 4240 4239 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 987654 10 20 30 "
    b"18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0\n"
)


def facts(pid: int, parent: int, session: int, *, alive: bool = True) -> ProcessFacts:
    return ProcessFacts(
        pid=pid, parent=parent, group=session, session=session, started=pid, alive=alive
    )


HOST = {
    each.pid: each
    for each in (
        facts(1, 0, 1),
        facts(10, 1, 10),  # the agent
        facts(11, 10, 10),  # its plugin host, in its session
        facts(100, 10, 100),  # the leader
        facts(101, 100, 100),
        facts(102, 101, 102),  # started a session of its own
        facts(103, 1, 102),  # lost its parent, but shares that session
        facts(104, 1, 100),  # lost its parent, shares the leader's
        facts(200, 10, 200),  # the neighbour's tree
        facts(201, 200, 200),
    )
}


def pids(found: tuple[ProcessFacts, ...]) -> list[int]:
    return [each.pid for each in found]


def test_the_tree_is_descent_and_sessions_together() -> None:
    assert pids(find_members(HOST, [100], {100})) == [100, 101, 102, 103, 104]


def test_descent_alone_finds_the_sessions() -> None:
    assert pids(find_members(HOST, [101], ())) == [100, 101, 102, 103, 104]


def test_a_session_without_its_leader() -> None:
    assert pids(find_members(HOST, [], {102})) == [102, 103]


def test_roots_that_are_gone_mean_nothing() -> None:
    assert find_members(HOST, [999], {998}) == ()


def test_the_one_who_asks_is_never_a_member() -> None:
    found = find_members(HOST, [1, 10, 11], {10}, outside=10)
    assert 10 not in pids(found)


def test_a_member_in_our_own_session_does_not_turn_it_into_the_tree() -> None:
    odd = {**HOST, 105: facts(105, 1, 10)}
    assert pids(find_members(odd, [105], {100}, outside=10)) == [100, 101, 102, 103, 104, 105]


@given(st.lists(st.tuples(st.integers(2, 12), st.integers(1, 12), st.integers(1, 12)), max_size=12))
def test_every_descendant_of_a_member_is_a_member(rows: list[tuple[int, int, int]]) -> None:
    table = {pid: facts(pid, parent, session) for pid, parent, session in rows}
    found = set(pids(find_members(table, [2], {2})))
    for each in table.values():
        if each.parent in found or each.session == 2:
            assert each.pid in found
    assert found <= table.keys()


def test_stat_is_read_past_any_name() -> None:
    assert parse_stat(STAT) == ProcessFacts(
        pid=4242, parent=17, group=4240, session=4239, started=987654, alive=True
    )


@pytest.mark.parametrize(
    ("state", "threads", "alive"),
    [
        (b"R", 1, True),
        (b"D", 1, True),
        (b"T", 1, True),
        (b"Z", 1, False),
        (b"X", 1, False),
        (b"Z", 2, True),
    ],
)
def test_a_zombie_is_alive_only_in_its_other_threads(
    state: bytes, threads: int, alive: bool
) -> None:
    text = STAT.replace(b") S ", b") %b " % state).replace(b" 20 0 3 0 ", b" 20 0 %d 0 " % threads)
    assert parse_stat(text).alive is alive


@pytest.mark.parametrize(
    ("block", "token"),
    [
        (b"", ""),
        (b"HOME=/root\0AF_TASK_TOKEN=abc\0X=y\0", "abc"),
        (b"AF_TASK_TOKEN=abc", "abc"),
        (b"MY_AF_TASK_TOKEN=abc\0", ""),
        (b"AF_TASK_TOKEN=\0", ""),
        (b"AF_TASK_TOKEN=\xff\0", "\udcff"),
    ],
)
def test_the_marker_in_an_environment(block: bytes, token: str) -> None:
    assert parse_token(block) == token


def test_children() -> None:
    assert parse_children(b"") == []
    assert parse_children(b"12 345 ") == [12, 345]


@pytest.mark.parametrize(
    ("raw", "code", "number"), [(0, 0, None), (768, 3, None), (9, None, 9), (0x86, None, 6)]
)
def test_raw_statuses(raw: int, code: int | None, number: int | None) -> None:
    status = make_status(raw)
    assert (status.code, status.signal, status.raw) == (code, number, raw)


def test_a_status_that_was_taken_elsewhere() -> None:
    status = make_status(-1)
    assert (status.code, status.signal) == (None, None)
    assert "taken" in str(status)


LAUNCH = Launch(argv=("/bin/render", "x"), cwd="/work", environment={"AF_TASK_TOKEN": "t"})


@pytest.mark.parametrize(
    ("number", "filename", "sentence"),
    [
        (errno.ENOENT, "/work", 'the working folder "/work" does not exist'),
        (errno.ENOTDIR, "/work", 'the working folder "/work" is not a folder'),
        (errno.EACCES, "/work", 'the working folder "/work" may not be entered'),
        (errno.EIO, "/work", 'the working folder "/work" cannot be entered (Input/output error)'),
        (errno.ENOENT, "/bin/render", 'there is no program "/bin/render"'),
        (errno.EACCES, "/bin/render", '"/bin/render" may not be executed'),
        (errno.ENOEXEC, "/bin/render", '"/bin/render" is not a program for this system'),
        (errno.E2BIG, "/bin/render", "30 bytes of command and environment are too many"),
        (errno.EAGAIN, None, "may not have more processes"),
        (errno.ENOMEM, None, "no memory"),
        (errno.EMFILE, None, "this process has too many open files"),
        (errno.ENFILE, None, "this host has too many open files"),
        (errno.EIO, "/bin/render", 'cannot start "/bin/render": Input/output error'),
    ],
)
def test_each_failed_start_names_the_thing(
    number: int, filename: str | None, sentence: str
) -> None:
    assert sentence in explain_launch_error(LAUNCH, OSError(number, os.strerror(number), filename))


def test_a_value_that_no_command_can_hold() -> None:
    launch = attrs.evolve(LAUNCH, argv=("a\0b",))
    assert "embedded null byte" in explain_launch_error(launch, ValueError("embedded null byte"))

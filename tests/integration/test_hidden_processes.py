"""Processes that /proc lists and that may not be read (``hidepid=1``): the others are found all the same."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest

from trio_afrender.process import procfs
from trio_afrender.supervisor import process_tree


def make_sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True)


@pytest.fixture
def pids() -> Iterator[tuple[int, int]]:
    """A process that is hidden, and one that is not."""
    with make_sleeper() as hidden, make_sleeper() as seen:
        try:
            yield hidden.pid, seen.pid
        finally:
            hidden.kill()
            seen.kill()


def hide(pid: int, read: Callable[[str], bytes]) -> Callable[[str], bytes]:
    def refuse(path: str) -> bytes:
        if path.startswith(f"/proc/{pid}/"):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return read(path)

    return refuse


def test_a_scan_returns_the_processes_that_may_be_read(
    pids: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden, seen = pids
    monkeypatch.setattr(procfs, "read_file", hide(hidden, procfs.read_file))
    assert {hidden, seen} & procfs.scan().keys() == {seen}


def test_a_hidden_member_keeps_no_other_from_being_found_and_signalled(
    pids: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden, seen = pids
    monkeypatch.setattr(process_tree, "_read", hide(hidden, process_tree._read))
    found = process_tree.find_below()
    assert {hidden, seen} & set(found) == {seen}
    # Of its own group, so nothing else of this program is in it.
    process_tree.kill_groups([hidden, seen])
    ended = os.waitid(os.P_PID, seen, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    assert ended.si_status == signal.SIGKILL

"""Everything that lives below this process, found by the kernel's lists of children. Blocking.

This process is a subreaper, so whoever is not below it was never started by its task. A member that
moves while we look (its parent ended, so it became our child) may be missed by one look: signals
that must not miss are sent again until nothing is left.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator

__all__ = ("collect", "find_below", "kill_groups", "list_children", "signal_below", "stop_below")

_MAX_ROUNDS = 50
"""Looks until it is given up that nobody new appears; then the caller's next call goes on."""
_GROUP_BATCH = 64
"""Dead members of one group, collected in a row, for which it is killed once: nobody alive was in it a moment
ago, but another member of their session may have joined it since."""
_GONE = (FileNotFoundError, ProcessLookupError)


def list_children(pid: int) -> list[int]:
    """The children of all threads of `pid`; none when it has ended or hides itself."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - hundreds of looks a second
    except (*_GONE, PermissionError):
        return found
    for thread in threads:
        found += _list_children_of(pid, thread)
    return found


def _list_children_of(pid: int, thread: str | int) -> Iterator[int]:
    with contextlib.suppress(*_GONE, PermissionError):
        return map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    return iter(())


def find_below(root: int = 0) -> list[int]:
    """Every living descendant of `root` (this process), parents before their children."""
    waiting, found = deque(list_children(root or os.getpid())), []
    seen: set[int] = set()
    while waiting:
        pid = waiting.popleft()
        if pid in seen:
            continue
        seen.add(pid)
        if (stat := _stat(pid)) is None:
            continue
        threads = int(stat[17])
        # A zombie has no children any more, but for one whose other threads go on.
        if threads > 1:
            found.append(pid)
            waiting += list_children(pid)
        elif stat[0] not in b"ZXx":
            found.append(pid)
            waiting += _list_children_of(pid, pid)
    return found


def signal_below(*numbers: signal.Signals) -> list[int]:
    """Send `numbers`, in this order, to everything below; look again until nobody new is there."""
    met: dict[int, None] = {}
    for _ in range(_MAX_ROUNDS):
        new = [pid for pid in find_below() if pid not in met]
        if not new:
            break
        met.update(dict.fromkeys(new))
        for number in numbers:
            for pid in new:
                _send(pid, number, met)
    return list(met)


def stop_below() -> list[int]:
    """Stop everything below: what is stopped cannot fork, so in the end nobody is missed."""
    return signal_below(signal.SIGSTOP)


def kill_groups(pids: Collection[int]) -> None:
    """Kill the process groups of our descendants `pids`, each atomically: no fork slips by.

    A group belongs to one session, and the sessions of members were made by members.
    """
    own, known = os.getpgrp(), set(pids)
    groups: dict[int, list[int]] = {}
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            groups.setdefault(os.getpgid(pid), []).append(pid)
    for group, members in groups.items():
        if group <= 1 or group == own or not _kill_group(group, members, known):
            for pid in members:
                _send(pid, signal.SIGKILL, known)


def _kill_group(group: int, members: Iterable[int], known: Collection[int]) -> bool:
    """Kill it if one of `members` shows that it is still theirs; False where that was not possible."""
    if not any(_is_below(pid, known) for pid in members):
        return False
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def collect(met: dict[int, int] | None) -> tuple[int, int, resource.struct_rusage] | None:
    """Collect one of our children that is dead: its pid, wait status, and what it used.

    None when none is dead now. Raises `ChildProcessError`: we have no child any more. With `met`,
    which is to be empty when a row of calls begins, the group of the child is killed before. Even a dead
    child keeps, until it is collected, its group from strangers: so a chain of daemons that each fork
    and end does not get away.
    """
    pid = -1
    if met is not None:
        info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if info is None:
            return None
        pid = info.si_pid
        _kill_group_of(pid, met)
    pid, raw, usage = os.wait4(pid, os.WNOHANG)
    return (pid, raw, usage) if pid else None


def _kill_group_of(zombie: int, met: dict[int, int]) -> None:
    """Not for each of its dead: the kernel goes through all of them each time."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        group = os.getpgid(zombie)
        met[group] = met.get(group, 0) + 1
        if met[group] % _GROUP_BATCH == 1 and group > 1 and group != os.getpgrp():
            os.killpg(group, signal.SIGKILL)


def _send(pid: int, number: signal.Signals, known: Collection[int]) -> None:
    """Signal `pid` if it is still below us: its number may have passed to a stranger."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except (OSError, AttributeError):  # an old kernel, or no descriptor left
        if _is_below(pid, known):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        return
    try:
        if _is_below(pid, known):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(handle, number)
    finally:
        os.close(handle)


def _is_below(pid: int, known: Collection[int]) -> bool:
    """Whether `pid` is our child, or one of a descendant that is `known`."""
    stat = _stat(pid)
    return stat is not None and (int(stat[1]) == os.getpid() or int(stat[1]) in known)


def _stat(pid: int) -> list[bytes] | None:
    """The fields of ``/proc/<pid>/stat`` from the state on; None when there is no such process."""
    with contextlib.suppress(*_GONE):
        text = _read(f"/proc/{pid}/stat")
        return text[text.rindex(b")") + 2 :].split()
    return None


def _read(path: str) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return b"".join(iter(_reader(handle), b""))
    finally:
        os.close(handle)


def _reader(handle: int) -> Callable[[], bytes]:
    return lambda: os.read(handle, 65536)

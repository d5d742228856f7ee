"""Find and signal every process below this one, by the kernel's lists of children. Blocking.

This process is a subreaper, so a process that is not below it was not started by its task. A member
changes its parent when that ends, and becomes a child of this process. One walk over the lists may
still miss one that is adopted by a member, a subreaper itself. So a signal that must reach all
members is sent again until nothing is left.
"""

from __future__ import annotations

import contextlib
import math
import os
import resource
import signal
from collections import deque
from collections.abc import Collection, Iterable, Iterator

__all__ = (
    "collect",
    "find_below",
    "kill_groups",
    "list_children",
    "read_parent",
    "signal_below",
    "stop_below",
)

_MAX_ROUNDS = 50
"""Walks of one `signal_below`; a tree that forks faster is continued by the caller's next call."""
_GROUP_BATCH = 64
"""Dead members of one process group that are collected for one KILL to the group."""
_GONE = (FileNotFoundError, ProcessLookupError)


def list_children(pid: int) -> list[int]:
    """Return the children of all threads of `pid`; none when it has ended or hides itself."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - hundreds of calls a second
    except (*_GONE, PermissionError):
        return found
    for thread in threads:
        found += _list_children_of(pid, thread)
    return found


def _list_children_of(pid: int, thread: str | int) -> Iterator[int]:
    with contextlib.suppress(*_GONE, PermissionError):
        return map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    return iter(())


def find_below(root: int = 0, most: float = math.inf) -> list[int]:
    """Return every living descendant of `root` (0: this process), parents before children.

    The walk ends as soon as it has found more than `most` of them. Below another process it may miss
    one whose parent ends meanwhile.
    """
    waiting, seen = deque(list_children(root or os.getpid())), set[int]()
    found: list[int] = []
    adopts = not root
    while (waiting or adopts) and len(found) <= most:
        if not waiting:
            # Orphans may have become children of this process since its list was read. Read again
            # once: a tree that forks fast has new ones at each look.
            adopts = False
            waiting += list_children(os.getpid())
            continue
        pid = waiting.popleft()
        if pid in seen:
            continue
        seen.add(pid)
        if (stat := _stat(pid)) is None:
            continue
        threads = int(stat[17])
        # A zombie has no children, except one whose other threads still run.
        if threads > 1:
            found.append(pid)
            waiting += list_children(pid)
        elif stat[0] not in b"ZXx":
            found.append(pid)
            waiting += _list_children_of(pid, pid)  # one thread: its directory need not be listed
    return found


def signal_below(*numbers: signal.Signals) -> list[int]:
    """Send `numbers`, in this order, to every process below this one; return their pids.

    Repeats until a walk finds no process that has not been signalled. What a process has started after
    its signal is left out if it handles the first of `numbers`: that is what it ends with, as the
    commands of a shell's trap.
    """
    met: dict[int, None] = {}
    late: set[int] = set()
    for _ in range(_MAX_ROUNDS):
        new = [pid for pid in find_below() if pid not in met and pid not in late]
        if met:
            late.update(_find_late(new, numbers[0], met))
            new = [pid for pid in new if pid not in late]
        if not new:
            break
        met.update(dict.fromkeys(new))
        for number in numbers:
            for pid in new:
                _send(pid, number, met)
    return list(met)


def _find_late(pids: Iterable[int], number: signal.Signals, met: Collection[int]) -> Iterator[int]:
    """Yield those of `pids`, parents before children, that a process of `met` which handles `number`
    has started, and what they have started."""
    late = set[int]()
    for pid in pids:
        stat = _stat(pid)
        parent = int(stat[1]) if stat is not None else 0
        if parent in late or (parent in met and _handles(parent, number)):
            late.add(pid)
            yield pid


def _handles(pid: int, number: signal.Signals) -> bool:
    """Whether `pid` has a handler for a signal."""
    with contextlib.suppress(*_GONE, PermissionError):
        for line in _read(f"/proc/{pid}/status").splitlines():
            if line.startswith(b"SigCgt:"):
                return bool(int(line[7:], 16) >> (number - 1) & 1)
    return False


def stop_below() -> list[int]:
    """Stop every process below this one; return their pids."""
    # A stopped process cannot fork, so the repeated walks come to an end that includes all.
    return signal_below(signal.SIGSTOP)


def kill_groups(pids: Collection[int]) -> None:
    """Kill the process groups of this process's descendants `pids`."""
    # By group, because the kernel signals a group atomically: no member forks in between. It cannot
    # hit an unrelated process: a group belongs to one session, and the sessions of members were
    # made by members.
    own, known = os.getpgrp(), set(pids)
    groups: dict[int, list[int]] = {}
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            groups.setdefault(os.getpgid(pid), []).append(pid)
    for group, members in groups.items():
        killed = False
        # One of the members must still be a descendant: all may have ended since the look at the
        # group, and the number may have passed to a group of an unrelated process.
        if group > 1 and group != own and any(_is_below(pid, known) for pid in members):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
                killed = True
        if not killed:
            for pid in members:
                _send(pid, signal.SIGKILL, known)


def collect(met: dict[int, int] | None) -> tuple[int, int, resource.struct_rusage] | None:
    """Reap one dead child of this process: its pid, its wait status, and what it used.

    None when no child is dead now. Raises `ChildProcessError` when there is no child at all. With
    `met` (members already collected of each group; empty at the first of a series of calls) the
    process group of the child is killed before it is reaped.
    """
    pid = -1
    if met is not None:
        # A zombie keeps its pid and its group number from other processes until it is reaped, so
        # its group can be killed safely now (WNOWAIT leaves the zombie). That breaks a chain of
        # daemons that each fork a successor and end (test_a_chain_of_forks_is_killed).
        info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if info is None:
            return None
        pid = info.si_pid
        # Not for each zombie of a group: the kernel then walks over all of them each time. But more
        # than once: another member of their session may have joined the group since the last KILL.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            group = os.getpgid(pid)
            met[group] = met.get(group, 0) + 1
            if met[group] % _GROUP_BATCH == 1 and group > 1 and group != os.getpgrp():
                os.killpg(group, signal.SIGKILL)
    pid, raw, usage = os.wait4(pid, os.WNOHANG)
    return (pid, raw, usage) if pid else None


def _send(pid: int, number: signal.Signals, known: Collection[int]) -> None:
    """Signal `pid` if it is still a descendant of this process."""
    # The pid may have passed to an unrelated process. A pidfd names one process for good, so a
    # check after its opening holds for the signal as well.
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except (OSError, AttributeError):  # no pidfd before Linux 5.3; or no descriptor left
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
    """Whether the parent of `pid` is this process or a descendant in `known`."""
    stat = _stat(pid)
    return stat is not None and (int(stat[1]) == os.getpid() or int(stat[1]) in known)


def _stat(pid: int) -> list[bytes] | None:
    """The fields of ``/proc/<pid>/stat`` from the state on; None when there is no such process.

    None also for a member that has become another user's and hides itself (``hidepid=1``): the others
    must be found in spite of it, and the proof of an empty tree does not need it.
    """
    with contextlib.suppress(*_GONE, PermissionError):
        text = _read(f"/proc/{pid}/stat")
        return text[text.rindex(b")") + 2 :].split()  # a command may contain spaces and brackets
    return None


def read_parent(pid: int) -> tuple[int, bytes] | None:
    """Return the parent and the command of `pid`; None when there is no such process."""
    with contextlib.suppress(*_GONE, PermissionError):
        text = _read(f"/proc/{pid}/stat")
        start, end = text.index(b"("), text.rindex(b")")
        return int(text[end + 2 :].split()[1]), text[start + 1 : end]
    return None


def _read(path: str) -> bytes:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        blocks: list[bytes] = []
        while block := os.read(handle, 65536):
            blocks.append(block)
        return b"".join(blocks)
    finally:
        os.close(handle)

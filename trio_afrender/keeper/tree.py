"""Everything that lives below this process, found by the kernel's lists of children. Blocking.

This process is a subreaper, so whoever is not below it was never started by its task. A member that
moves while we look (its parent ended, so it became our child) may be missed by one look: signals
that must not miss are sent again until nothing is left.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Collection

__all__ = ("find_below", "kill_groups", "list_children", "signal_below", "stop_below")

_ROUNDS = 50
"""Looks until it is given up that nobody new appears; then the caller's next call goes on."""
_GONE = (FileNotFoundError, ProcessLookupError)


def list_children(pid: int) -> list[int]:
    """The children of all threads of `pid`; none when it has ended or hides itself."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - hundreds of looks a second
    except (*_GONE, PermissionError):
        return found
    for thread in threads:
        with contextlib.suppress(*_GONE, PermissionError):
            found += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    return found


def find_below(root: int = 0) -> list[int]:
    """Every living descendant of `root` (this process), parents before their children."""
    waiting, found = list_children(root or os.getpid()), []
    seen: set[int] = set()
    while waiting:
        pid = waiting.pop(0)
        if pid in seen:
            continue
        seen.add(pid)
        if _is_alive(pid):
            found.append(pid)
        waiting += list_children(pid)
    return found


def signal_below(*numbers: signal.Signals) -> list[int]:
    """Send `numbers`, in this order, to everything below; look again until nobody new is there."""
    met: dict[int, None] = {}
    for _ in range(_ROUNDS):
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
    own, done = os.getpgrp(), set()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            group = os.getpgid(pid)
            if group > 1 and group != own and group not in done and _is_below(pid, pids):
                done.add(group)
                os.killpg(group, signal.SIGKILL)
    for pid in pids:
        _send(pid, signal.SIGKILL, pids)


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


def _is_alive(pid: int) -> bool:
    """False for a zombie, but for one whose other threads go on."""
    stat = _stat(pid)
    return stat is not None and (stat[0] not in b"ZXx" or int(stat[17]) > 1)


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

"""Which process is at the other end of a Unix socket, and whether it is one of a task.

A task of the agent's own user can replace the socket of its task supervisor, or of the supervisor, by
one of its own, and it can copy every file and every secret. What it cannot change is its place in the
tree of processes: whatever it starts stays below its task supervisor, which is a subreaper. So both
ends of a connection ask the kernel who the other one is, and refuse a process that is below a task
supervisor.
"""

from __future__ import annotations

import os
import socket
import struct

from trio_afrender.supervisor.process_tree import read_parent

__all__ = ("SUPERVISOR_NAME", "check_peer", "get_peer", "is_inside_task")

SUPERVISOR_NAME = "af:supervisor"
"""The command of the supervisor in `ps`; those of task supervisors have the same first letters. Only a
process itself can change its command."""
_HELPER_PREFIX = b"af:"
_MAX_STEPS = 10_000
"""Processes that are looked at for one of them. A task can make a chain as long as it likes, and can change
it all the time."""


def check_peer(sock: socket.socket) -> None:
    """Raise `PermissionError` if the other end belongs to another user or to a task.

    For a connection to a listening socket the other end is the process that has called `listen`.
    """
    pid, uid = get_peer(sock)
    if uid not in (os.getuid(), 0):
        raise PermissionError(f"the process at the other end, {pid}, belongs to user {uid}")
    if is_inside_task(pid):
        raise PermissionError(f"the process at the other end, {pid}, is not an agent's: a task's")


def get_peer(sock: socket.socket) -> tuple[int, int]:
    """Return pid and user id of the process at the other end. Raises `OSError`."""
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _gid = struct.unpack("3i", data)
    return pid, uid


def is_inside_task(pid: int) -> bool:
    """Whether a process is below a task supervisor; also True for one that has ended.

    Ancestors of this process do not count: an agent may itself run in a task.
    """
    chain = _list_ancestors(pid)
    if chain is None:
        return True
    own = {each for each, _ in _list_ancestors(os.getpid()) or ()}
    above = [name for each, name in chain if each not in own]
    # The parent of a genuine task supervisor is the supervisor, and nothing of ours is above that. A
    # task may give that name to a parent that it has made, but its own task supervisor is above it.
    if above and above[0] == SUPERVISOR_NAME.encode():
        del above[0]
    return any(name.startswith(_HELPER_PREFIX) for name in above)


def _list_ancestors(pid: int) -> list[tuple[int, bytes]] | None:
    """Return pid and command of the parent, its parent, and so on.

    None if the process has ended, or if it has too many ancestors to look at.
    """
    found: list[tuple[int, bytes]] = []
    each, facts = pid, read_parent(pid)
    for _ in range(_MAX_STEPS):
        if facts is None:
            if each == pid:
                return None
            # This ancestor has ended since it was found: all below it have another one now.
            found.clear()
            each, facts = pid, read_parent(pid)
            continue
        parent = facts[0]
        if not parent:
            return found
        above = read_parent(parent)
        if above is not None:
            found.append((parent, above[1]))
            each, facts = parent, above
            continue
        # It has ended, and `each` has got another parent: a task can end one at this very moment. Or
        # this user may not see it: then it is no helper, which run as this user or as root.
        facts = read_parent(each)
        if facts is not None and facts[0] == parent:
            return found
    return None

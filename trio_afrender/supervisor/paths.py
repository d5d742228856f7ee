"""Files of a task supervisor beside its run's record: its socket, and the record of the end.

A later agent of the same store looks there: for a tree that still runs, and for one that ended
while no agent was connected. `record` is a path without suffix, see `protocol.LaunchSpec`.
"""

from __future__ import annotations

import contextlib
import json
import os

from trio_afrender.safe_files import NO_LINK, write_all
from trio_afrender.supervisor.protocol import TreeState

__all__ = ("end_path", "identify_socket", "remove_socket", "socket_path", "write_end")


def socket_path(record: str) -> str:
    """Return the path at which the task supervisor listens."""
    return f"{record}.sock"


def end_path(record: str) -> str:
    """Return the path of the last state of a tree that has ended."""
    return f"{record}.end"


def identify_socket(record: str) -> tuple[int, int] | None:
    """Return inode and time of the socket's name; None if there is none."""
    with contextlib.suppress(OSError):
        found = os.stat(socket_path(record), follow_symlinks=False)  # noqa: PTH116 - as below
        return found.st_ino, found.st_mtime_ns
    return None


def remove_socket(record: str) -> None:
    """Remove the socket's name, so that no agent tries to connect. Closes nothing."""
    with contextlib.suppress(OSError):
        os.unlink(socket_path(record))  # noqa: PTH108 - once a task, and a Path is slower


def write_end(record: str, state: TreeState) -> None:
    """Store the last state of a tree. Raises `OSError` (a full disk).

    Not atomic: what a reader finds incomplete counts as missing (`read_exit_record`).
    """
    path, flags = end_path(record), os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK
    try:
        handle = os.open(path, flags, 0o600)
    except FileExistsError:
        # Put there by the task: opening a FIFO would wait for a reader, and the tree's end with it.
        os.unlink(path)  # noqa: PTH108 - as above
        handle = os.open(path, flags, 0o600)
    try:
        write_all(handle, json.dumps(state.to_json()).encode())
    finally:
        os.close(handle)

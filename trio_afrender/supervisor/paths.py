"""What a tree has at its record, where a later agent looks: a socket, and word of its end."""

from __future__ import annotations

import contextlib
import json
import os

from trio_afrender.supervisor.protocol import TreeState

__all__ = ("end_path", "remove_socket", "socket_path", "write_end")


def socket_path(record: str) -> str:
    """Where the parent listens."""
    return f"{record}.sock"


def end_path(record: str) -> str:
    """Where word of the end is."""
    return f"{record}.end"


def remove_socket(record: str) -> None:
    """Nobody is to come any more."""
    with contextlib.suppress(OSError):
        os.unlink(socket_path(record))  # noqa: PTH108 - once a task, and a Path is dearer than that


def write_end(record: str, state: TreeState) -> None:
    """Leave word of the end. Raises `OSError` (a full disk)."""
    handle = os.open(end_path(record), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(handle, json.dumps(state.to_json()).encode())
    finally:
        os.close(handle)

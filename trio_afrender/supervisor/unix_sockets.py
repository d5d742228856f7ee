"""Unix sockets whose path may be longer than the 107 bytes that the kernel takes.

A folder is opened, and the socket named through ``/proc/self/fd``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from trio_afrender.message_framing import PROTOCOL_VERSION

__all__ = ("connect", "listen", "peer_uid", "short_path", "supervisor_path")

_MAX_PATH = 100


def supervisor_path(store: str, kind: str) -> str:
    """Where the supervisor of this version has its ``sock``, ``lock`` and ``log`` in a store.

    One of another version keeps what it has, beside ours, until its tasks are over.
    """
    return f"{store}/keeper-{PROTOCOL_VERSION}.{kind}"


@contextlib.contextmanager
def short_path(path: str) -> Iterator[str]:
    """Give a name for `path` that a socket address can hold, for as long as the context lives."""
    if len(os.fsencode(path)) <= _MAX_PATH:
        yield path
        return
    folder, name = os.path.split(path)
    handle = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{handle}/{name}"
    finally:
        os.close(handle)


def listen(path: str) -> socket.socket:
    """Make the socket `path` with mode 0600, in the place of an old one. Raises `OSError`."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The mode of what `bind` makes is that of the descriptor: there is no moment in which
        # others could connect.
        os.fchmod(sock.fileno(), 0o600)
        with short_path(path) as name:
            try:
                sock.bind(name)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                with contextlib.suppress(FileNotFoundError):  # whoever had it took it away just now
                    Path(path).unlink()
                sock.bind(name)
        sock.listen(16)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def connect(path: str) -> socket.socket:
    """Connect to `path`, non-blocking from then on. Raises `OSError`: nobody listens there."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_path(path) as name:
            sock.connect(name)
        _check_peer(sock, path)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _check_peer(sock: socket.socket, path: str) -> None:
    if peer_uid(sock) not in (os.getuid(), 0):
        raise PermissionError(f"{path} belongs to user {peer_uid(sock)}")


def peer_uid(sock: socket.socket) -> int:
    """Return the user at the other end, as the kernel knows it."""
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("3i", data)
    return int(uid)

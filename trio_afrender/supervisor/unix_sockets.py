"""Unix sockets at any path, of which both ends check who the other is (`peer_credentials`).

A socket address holds 107 bytes of a path. For a longer one its folder is opened, and the socket is
named through ``/proc/self/fd`` (test_the_path_of_a_store_may_be_long).
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from trio_afrender.message_framing import PROTOCOL_VERSION
from trio_afrender.supervisor.peer_credentials import check_peer

__all__ = ("BACKLOG", "connect", "listen", "short_path", "supervisor_path")

BACKLOG = 16
"""Connections that wait to be accepted."""
CONNECT_TIMEOUT = 5.0
"""Seconds for which a connection waits where `BACKLOG` others wait already."""
_MAX_PATH = 100


def supervisor_path(store: str, kind: str) -> str:
    """Return the path of the supervisor's ``sock``, ``lock`` or ``log`` in a store.

    The version of the protocol is part of the name: supervisors of two versions run beside each
    other until the tasks of the older one are over.
    """
    return f"{store}/keeper-{PROTOCOL_VERSION}.{kind}"


@contextlib.contextmanager
def short_path(path: str) -> Iterator[str]:
    """Yield a name of `path` that fits into a socket address, valid inside the context."""
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
    """Listen at `path`, mode 0600, non-blocking; replaces an old socket. Raises `OSError`.

    The caller closes the socket and removes its name.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # `bind` gives the name the mode of the descriptor. A chmod after it would leave a moment in
        # which other users could connect.
        os.fchmod(sock.fileno(), 0o600)
        with short_path(path) as name:
            try:
                sock.bind(name)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                # A task supervisor that ends just now may remove its name first
                # (test_a_socket_that_is_removed_while_it_is_replaced).
                with contextlib.suppress(FileNotFoundError):
                    Path(path).unlink()
                sock.bind(name)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def connect(path: str) -> socket.socket:
    """Connect to `path` and return the socket, non-blocking. Raises `OSError`: nothing listens.

    Raises `PermissionError` for a socket of another user, or of a process of a task: the folder may be
    one in which tasks create files. Blocks for `CONNECT_TIMEOUT` at most, and raises `TimeoutError`
    then. The caller closes the socket.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Without a limit, a task could keep agents from starting: it may stop its supervisor and fill
        # the queue of its socket. `settimeout` would not wait at all where that queue is full.
        limit = struct.pack("ll", int(CONNECT_TIMEOUT), int(CONNECT_TIMEOUT % 1 * 1e6))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        begun = time.monotonic()
        with short_path(path) as name:
            try:
                sock.connect(name)
            except BlockingIOError as error:
                if time.monotonic() - begun < CONNECT_TIMEOUT / 2:
                    raise
                text = "accepts no connection"
                raise TimeoutError(errno.ETIMEDOUT, text, path) from error
        check_peer(sock)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock

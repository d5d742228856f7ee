"""A socket to one agent that is never waited for: what does not fit now goes out later."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping

from trio_afrender.message_framing import FrameReader, encode

__all__ = ("Channel", "FdChannel")

_RECEIVE_SIZE = 64 * 1024
"""Larger ones would be mapped and unmapped by the kernel each time."""
_MAX_DESCRIPTORS = 8
_CLOSE_TIMEOUT = 5.0
"""Seconds that an agent may take to read what is left when we end."""


class Channel:
    """Frames over a non-blocking socket, which it owns."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._frames = FrameReader()
        self._out = b""
        self._deaf = False
        self.over = False
        """The other end is gone."""

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def waiting(self) -> bool:
        """Whether something is still to be sent."""
        return bool(self._out)

    @property
    def frame(self) -> bytes:
        """The message that `receive` gave last, as it came."""
        return self._frames.last

    def put(self, message: Mapping[str, object]) -> None:
        """Queue a message."""
        if not self._deaf:
            self._out += encode(message)

    def flush(self, *, blocking: bool = False) -> None:
        """Send what the socket takes; with `blocking` all of it, for a few seconds at most."""
        if blocking:
            self._sock.settimeout(_CLOSE_TIMEOUT)
        try:
            while self._out:
                self._out = self._out[self._sock.send(self._out) :]
        except BlockingIOError:
            pass
        except OSError:
            # It has closed its end; what it said before that is still to be read.
            self._deaf, self._out = True, b""

    def read(self) -> bytes:
        """What the socket holds now; empty when the other end is gone."""
        return self._sock.recv(_RECEIVE_SIZE)

    def receive(self) -> Iterator[dict[str, object]]:
        """Yield what has come; afterwards `over` tells whether that was all. Raises `FrameError`."""
        try:
            data = self.read()
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.over = True
            return
        yield from self._frames.feed(data)
        self.flush()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.close()


class FdChannel(Channel):
    """A channel whose messages bring descriptors along, in their order. Whoever takes one closes it."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._descriptors: list[int] = []

    def read(self) -> bytes:
        data, descriptors, _flags, _address = socket.recv_fds(
            self._sock, _RECEIVE_SIZE, _MAX_DESCRIPTORS
        )
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        self._descriptors += descriptors
        return data

    def take(self, count: int) -> list[int]:
        """The next descriptors; fewer when fewer came."""
        taken, self._descriptors = self._descriptors[:count], self._descriptors[count:]
        return taken

    def close(self) -> None:
        super().close()
        for descriptor in self.take(len(self._descriptors)):
            os.close(descriptor)

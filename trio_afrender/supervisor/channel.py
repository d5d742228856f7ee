"""A non-blocking socket for messages: what does not fit into the socket now is sent later."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from collections.abc import Iterator, Mapping

from trio_afrender.message_framing import FrameReader, encode

__all__ = ("Channel", "FdChannel")

_RECEIVE_SIZE = 64 * 1024
"""Bytes; for a larger buffer the C library maps and unmaps memory on each call."""
_MAX_DESCRIPTORS = 8
_CLOSE_TIMEOUT = 5.0
"""Seconds that the other end may take to read the last messages."""
_NO_MEMORY = (errno.ENOMEM, errno.ENOBUFS)
_MEMORY_TIMEOUT, _MEMORY_PAUSE = 1.0, 0.01
"""Seconds that a send is repeated while the kernel has no memory for it, and between two of them."""


class Channel:
    """Sends and receives messages over a socket, which it owns. `close` closes both."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._frames = FrameReader()
        self._out = b""
        self._peer_closed = False
        self.over: bool = False
        """The other end has closed the socket, and everything it sent has been received."""

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def waiting(self) -> bool:
        """Whether bytes are still to be sent."""
        return bool(self._out)

    @property
    def frame(self) -> bytes:
        """The bytes of the message that `receive` yielded last, with its length."""
        return self._frames.last

    def put(self, message: Mapping[str, object]) -> None:
        """Queue a message; `flush` sends it."""
        if not self._peer_closed:
            self._out += encode(message)

    def flush(self, *, blocking: bool = False) -> None:
        """Send what the socket takes now; with `blocking` everything, for 5 seconds at most.

        Blocks for a second at most while the kernel has no memory; the rest is `waiting` then.
        """
        if blocking:
            self._sock.settimeout(_CLOSE_TIMEOUT)
        until = time.monotonic() + _MEMORY_TIMEOUT
        while self._out:
            try:
                self._out = self._out[self._sock.send(self._out) :]
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in _NO_MEMORY:
                    # The other end is closed. Its last messages may still be in the receive buffer,
                    # so this is not yet `over`: an agent that sends "release" and closes is served.
                    self._peer_closed, self._out = True, b""
                elif time.monotonic() >= until:
                    return
                else:
                    time.sleep(_MEMORY_PAUSE)

    def read(self) -> bytes:
        """Return the bytes that have arrived; none when the other end is closed."""
        return self._sock.recv(_RECEIVE_SIZE)

    def receive(self) -> Iterator[dict[str, object]]:
        """Yield the messages that have arrived, and set `over` at the end. Raises `FrameError`.

        Sends queued answers after the last message.
        """
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
    """A channel whose messages carry descriptors, delivered in the order in which they were sent.

    The caller of `take` closes what it took; `close` closes the rest.
    """

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self._descriptors: list[int] = []

    def read(self) -> bytes:
        # SCM_RIGHTS: descriptors arrive with the first bytes of the send that carried them, and a
        # read ends after those bytes. So they are here before their message is whole, and one read
        # never mixes the descriptors of two messages.
        data, descriptors, _flags, _address = socket.recv_fds(
            self._sock, _RECEIVE_SIZE, _MAX_DESCRIPTORS
        )
        for descriptor in descriptors:
            # They arrive inheritable. A leader that inherited one would hold that pipe or socket
            # open (test_a_task_inherits_no_descriptor_and_no_variable).
            os.set_inheritable(descriptor, False)
        self._descriptors += descriptors
        return data

    def take(self, count: int) -> list[int]:
        """Return the next `count` descriptors; fewer when fewer have arrived."""
        taken, self._descriptors = self._descriptors[:count], self._descriptors[count:]
        return taken

    def close(self) -> None:
        super().close()
        for descriptor in self.take(len(self._descriptors)):
            os.close(descriptor)

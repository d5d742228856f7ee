"""The sizes of websocket messages, read from the bytes on the wire (RFC 6455, section 5.2). No I/O.

The library tells neither how much of an unfinished message it holds nor how many bytes a message
had. Limits in bytes need both, so the headers of the frames are read here a second time. Nothing is
checked: the library does that, and ends the connection of a peer that violates the protocol.
"""

from __future__ import annotations

from collections import deque

__all__ = ("MessageSizes",)

_FINAL, _CONTROL, _MASKED, _LENGTH = 0x80, 0x08, 0x80, 0x7F
_MAX_HEADER = 14
_EXTENDED = {126: 2, 127: 8}
"""Bytes of the extended length, by the value of the short one."""


class MessageSizes:
    """Counts the bytes of messages, headers included. Control frames belong to no message."""

    def __init__(self) -> None:
        self.finished: deque[int] = deque()
        """The sizes of whole messages that are not consumed, the oldest first."""
        self.unfinished: int = 0
        """Bytes of the message that is not complete yet."""
        self.pending: int = 0
        """Bytes of all these messages."""
        self._header: bytes | bytearray = b""
        """The beginning of a header that is not complete yet."""
        self._flags = 0
        """The first byte of the present frame."""
        self._payload = 0
        """Bytes that are missing of the present frame."""

    def consume(self) -> None:
        """Take the oldest whole message out, if there is one."""
        if self.finished:
            self.pending -= self.finished.popleft()

    def feed(self, data: bytes | bytearray) -> None:
        """Count the next bytes of the connection."""
        position, end = 0, len(data)
        while position < end:
            if self._payload:
                step = min(self._payload, end - position)
                self._payload -= step
                self._count(step)
            else:
                header = self._header + data[position : position + _MAX_HEADER]
                step = self._read_header(header)
                if not step:
                    self._header = header
                    return
                self._count(step)
                step -= len(self._header)
                self._header = b""
            position += step
            if not self._payload and self._flags & _FINAL and not self._flags & _CONTROL:
                self.finished.append(self.unfinished)
                self.unfinished = 0

    def _read_header(self, header: bytes | bytearray) -> int:
        """Parse a frame's header; return its size, 0 if it is not complete."""
        if len(header) < 2:
            return 0
        length = header[1] & _LENGTH
        extended = _EXTENDED.get(length, 0)
        size = 2 + extended + (4 if header[1] & _MASKED else 0)
        if len(header) < size:
            return 0
        self._flags = header[0]
        self._payload = int.from_bytes(header[2 : 2 + extended], "big") if extended else length
        return size

    def _count(self, size: int) -> None:
        if not self._flags & _CONTROL:
            self.unfinished += size
            self.pending += size

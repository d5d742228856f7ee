"""Cuts a server's websocket stream into whole frames, so that a relay can repeat one."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ("FrameCutter", "is_ack")

TEXT = 0x81
END_OF_HEAD = b"\r\n\r\n"


class FrameCutter:
    """Takes bytes in any pieces; the first thing it yields is the HTTP response."""

    def __init__(self) -> None:
        self._data = b""
        self._head = True

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield everything that is complete by now."""
        self._data += data
        while length := self._complete_length():
            yield self._data[:length]
            self._data, self._head = self._data[length:], False

    def _complete_length(self) -> int:
        """The length of the first frame (or of the response); 0 if it is not complete."""
        if self._head:
            end = self._data.find(END_OF_HEAD)
            return end + len(END_OF_HEAD) if end >= 0 else 0
        if len(self._data) < 2:
            return 0
        length = self._data[1] & 0x7F
        size = {126: 2, 127: 8}.get(length, 0)
        if len(self._data) < 2 + size:
            return 0
        if size:
            length = int.from_bytes(self._data[2 : 2 + size], "big")
        total = 2 + size + length
        return total if len(self._data) >= total else 0


def is_ack(frame: bytes) -> bool:
    """Whether a frame has one whole message, which is an acknowledgement."""
    return frame[:1] == bytes([TEXT]) and b'"ack"' in frame[:40]

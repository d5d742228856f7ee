"""Frames of the messages between agent, supervisor, task supervisors and plugin hosts. No I/O.

A frame is four bytes of length (big-endian) and one JSON object in ASCII.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping

__all__ = ("MAX_MESSAGE", "PROTOCOL_VERSION", "FrameError", "FrameReader", "encode")

PROTOCOL_VERSION = 2
"""Version of the messages to a supervisor. An agent connects only to a supervisor of its own version;
one of another version ends with its tasks. Messages to a task supervisor only ever get more keys, so a
later agent can take over its tree whatever the version."""

_LENGTH = struct.Struct(">I")
# `json.dumps` and `json.loads` look at their options each time.
_encode = json.JSONEncoder(separators=(",", ":")).encode
_decode = json.JSONDecoder().decode
MAX_MESSAGE = 16 * 1024 * 1024
"""Bytes of a message; the largest environment that Linux passes to a program has 6 MiB."""


class FrameError(Exception):
    """The bytes that were received are not a valid frame."""


def encode(message: Mapping[str, object]) -> bytes:
    """Return the frame of a message. Bytes that are not UTF-8 are sent as surrogate escapes."""
    body = _encode(message).encode("ascii")
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Collects received bytes and yields whole messages.

    `limit` is the largest message that is accepted, in bytes, and `error` what is raised for
    anything but valid frames.
    """

    def __init__(self, limit: int = MAX_MESSAGE, error: type[Exception] = FrameError) -> None:
        self._limit = limit
        self._error = error
        self._data = bytearray()
        self.last: bytes = b""
        """The frame of the message that was yielded last, for passing it on as it is."""

    def feed(self, data: bytes) -> Iterator[dict[str, object]]:
        """Yield the messages that `data` completes. Raises `error`; feed nothing after that."""
        self._data += data
        while len(self._data) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._data)
            if length > self._limit:
                raise self._error(f"a message of {length} bytes is too large")
            end = _LENGTH.size + length
            if len(self._data) < end:
                return
            # A slice of the bytearray would copy a large message once more.
            self.last = bytes(memoryview(self._data)[:end])
            del self._data[:end]
            try:
                message = _decode(self.last[_LENGTH.size :].decode())
            except (ValueError, RecursionError) as error:
                raise self._error(f"a message that is not JSON: {error}") from error
            if not isinstance(message, dict):
                raise self._error("a message that is not a JSON object")
            yield message

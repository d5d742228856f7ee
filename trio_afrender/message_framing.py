"""Messages between agent, supervisor and parents: JSON objects, each behind its length. Sans I/O."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping

__all__ = ("MAX_MESSAGE", "PROTOCOL_VERSION", "FrameError", "FrameReader", "encode")

PROTOCOL_VERSION = 1
"""Of what is said to a supervisor: one of another version is not asked, it ends with its tasks. What is said
to a parent only ever gets more words, so a later agent takes over trees of any version."""

_LENGTH = struct.Struct(">I")
_encode = json.JSONEncoder(separators=(",", ":")).encode
MAX_MESSAGE = 16 * 1024 * 1024
"""Bytes of a message: the largest environment that a kernel takes is 6 MiB."""


class FrameError(Exception):
    """What came is no message of ours."""


def encode(message: Mapping[str, object]) -> bytes:
    """Return the bytes of one message. Text that is not UTF-8 travels as surrogate escapes."""
    body = _encode(message).encode("ascii")
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Takes bytes as they come and gives whole messages."""

    def __init__(self) -> None:
        self._data = bytearray()
        self.last = b""
        """The message that was given last, as it came: to be passed on."""

    def feed(self, data: bytes) -> Iterator[dict[str, object]]:
        """Yield the messages that `data` completes. Raises `FrameError`; then nothing follows."""
        self._data += data
        while len(self._data) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._data)
            if length > MAX_MESSAGE:
                raise FrameError(f"a message of {length} bytes")
            end = _LENGTH.size + length
            if len(self._data) < end:
                return
            self.last = bytes(self._data[:end])
            del self._data[:end]
            yield _load(self.last[_LENGTH.size :])


def _load(body: bytes) -> dict[str, object]:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise FrameError("a message that is no JSON") from error
    if not isinstance(message, dict):
        raise FrameError("a message that is no object")
    return message

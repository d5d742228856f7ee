"""Headers of messages, and a `Receiver` that assembles a message from chunks of bytes.

A header has twelve bytes: version, type, and a value or the length of the body. JSON can have a text
header instead. One connection carries one request and one answer, so bytes after a message are
ignored: a server sends spaces to check whether its client is still connected.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from trio_afrender.errors import ProtocolError
from trio_afrender.protocol.afanasy.composite_types import RecordType
from trio_afrender.protocol.afanasy.field_types import ByteReader, DecodeError
from trio_afrender.protocol.afanasy.messages import (
    Json,
    Message,
    RenderDeregister,
    RenderEvents,
    RenderId,
    RenderRegister,
    RenderUpdate,
    VersionMismatch,
)
from trio_afrender.protocol.afanasy.schema import EVENTS, REGISTER, UPDATE

__all__ = ("MAX_BODY", "VERSION", "Receiver", "decode", "encode")

VERSION = 81
"""The version of the protocol, not of CGRU."""
HEADER = struct.Struct(">iii")
MAX_BODY = 2**26 - HEADER.size
"""The most bytes of a body that the server accepts."""

_VERSION_MISMATCH, _ID, _DEREGISTER, _JSON = 1, 8, 9, 24
_FIRST_WITH_BODY, _LAST = 21, 63
_RECORDS: Mapping[int, tuple[type, RecordType[Any]]] = {
    34: (RenderRegister, REGISTER),
    35: (RenderUpdate, UPDATE),
    36: (RenderEvents, EVENTS),
}
_TYPES = {cls: number for number, (cls, _) in _RECORDS.items()}
_TEXT_MARK = b"AFANASY"
_TEXT_HEADER = re.compile(rb"AFANASY +(\d{1,9}) *JSON")
_TEXT_HEADER_LIMIT = 40


@attrs.frozen
class _Head:
    """A header: its own size, that of the body, and the function that decodes the body."""

    size: int
    body: int
    make: Callable[[bytes], Message]


def encode(message: Message) -> bytes:
    """Return the bytes of a message. Raises ProtocolError that names the field it cannot encode."""
    match message:
        case RenderId(id=number):
            return _pack(_ID, number)
        case RenderDeregister(id=number):
            return _pack(_DEREGISTER, number)
        case VersionMismatch(version=version, value=value):
            return _pack(_VERSION_MISMATCH, value, version)
        case Json(body=body, text=True):
            return b"AFANASY %d JSON%b" % (len(body), body)
        case Json(body=body):
            return _frame(_JSON, body)
    number = _TYPES[type(message)]
    out = bytearray()
    try:
        _RECORDS[number][1].write(out, message)
    except DecodeError as error:
        raise ProtocolError(f"{type(message).__name__}.{error}") from None
    return _frame(number, out)


def decode(data: bytes) -> Message:
    """Decode `data`, which must be exactly one message. Raises ProtocolError."""
    receiver = Receiver()
    message = receiver.feed(data)
    if message is None:
        raise ProtocolError(f"{len(data)} bytes of a message that is longer")
    if receiver.surplus:
        raise ProtocolError(f"{receiver.surplus} bytes after the message")
    return message


class Receiver:
    """Assembles one message from chunks of bytes of any size."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._head: _Head | None = None
        self.surplus: int = 0
        """Bytes received after the message."""

    @property
    def begun(self) -> bool:
        """Whether any byte has been received."""
        return bool(self._data)

    def feed(self, data: bytes | bytearray | memoryview) -> Message | None:
        """Add bytes and return the message once it is complete, None before.

        Raises ProtocolError as soon as the header is invalid or announces more than `MAX_BODY`.
        """
        # The buffer grows by what has arrived, never by the announced length: a header alone costs
        # no memory (test_an_announced_length_takes_no_memory).
        self._data += data
        if self._head is None:
            self._head = _read_head(self._data)
        if self._head is None:
            return None
        end = self._head.size + self._head.body
        if len(self._data) < end:
            return None
        self.surplus = len(self._data) - end
        with memoryview(self._data) as whole:
            return self._head.make(bytes(whole[self._head.size : end]))


def _read_head(data: bytearray) -> _Head | None:
    mark = min(len(data), len(_TEXT_MARK))
    if data[:mark] == _TEXT_MARK[:mark]:
        return _read_text_head(data) if mark == len(_TEXT_MARK) else None
    if len(data) < HEADER.size:
        return None
    version, number, value = HEADER.unpack_from(data)
    # A server of another version puts its own version into the header of this answer, so it is
    # accepted before the version is compared.
    if number == _VERSION_MISMATCH and 0 < version < 2**16:
        return _Head(HEADER.size, 0, lambda _: VersionMismatch(version=version, value=value))
    if version != VERSION:
        raise ProtocolError(
            f"protocol version {version} instead of {VERSION}"
            if 0 < version < 2**16
            else f"not the Afanasy protocol: it begins with {bytes(data[:12])!r}"
        )
    if number == _ID:
        return _Head(HEADER.size, 0, lambda _: RenderId(id=value))
    if number == _DEREGISTER:
        return _Head(HEADER.size, 0, lambda _: RenderDeregister(id=value))
    if number != _JSON and number not in _RECORDS:
        raise ProtocolError(f"a message of type {number}, which renders neither send nor receive")
    if not 0 < value <= MAX_BODY:
        raise ProtocolError(f"a message of {value} bytes, at most {MAX_BODY} are allowed")
    return _Head(HEADER.size, value, lambda body: _decode_body(number, body))


def _read_text_head(data: bytearray) -> _Head | None:
    match = _TEXT_HEADER.match(data, 0, _TEXT_HEADER_LIMIT)
    if match is None:
        if len(data) >= _TEXT_HEADER_LIMIT:
            raise ProtocolError(f"not a text header: {bytes(data[:_TEXT_HEADER_LIMIT])!r}")
        return None
    length = int(match[1])
    if length > MAX_BODY:
        raise ProtocolError(f"a text of {length} bytes, at most {MAX_BODY} are allowed")
    return _Head(match.end(), length, lambda body: Json(body=body, text=True))


def _decode_body(number: int, body: bytes) -> Message:
    if number == _JSON:
        return Json(body=body)
    cls, record = _RECORDS[number]
    source = ByteReader(body)
    try:
        message: Message = record.read(source)
    except DecodeError as error:
        raise ProtocolError(f"{cls.__name__}.{error}") from None
    if source.left:
        raise ProtocolError(f"{cls.__name__}: {source.left} bytes too many")
    return message


def _frame(number: int, body: bytes | bytearray) -> bytes:
    if not 0 < len(body) <= MAX_BODY:
        raise ProtocolError(f"a message of {len(body)} bytes, at most {MAX_BODY} are allowed")
    return HEADER.pack(VERSION, number, len(body)) + body


def _pack(number: int, value: int, version: int = VERSION) -> bytes:
    try:
        return HEADER.pack(version, number, value)
    except struct.error:
        raise ProtocolError(f"{value} does not fit into a header") from None

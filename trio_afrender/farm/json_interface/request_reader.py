"""Assembles one request from chunks of bytes: text frame, binary frame or HTTP. No I/O.

All kinds come to one port; the first bytes tell which it is. One connection carries one request.
"""

from __future__ import annotations

import enum
import re
import struct

import attrs

from trio_afrender.farm.json_interface.answers import encode_json, info
from trio_afrender.farm.json_interface.http_head import (
    MAX_HEAD,
    HttpAnswer,
    HttpHead,
    HttpRefused,
    body_length,
    parse_head,
)
from trio_afrender.protocol.afanasy import MAX_BODY, VERSION, Json, VersionMismatch, encode

__all__ = ("FrameKind", "FramedRequest", "RequestReader", "RequestRefused", "frame_answer")

_BINARY = struct.Struct(">iii")
_TYPES = (23, 24)
"""JSON in a binary frame. The answer to 23 comes in the text frame."""
_MISMATCH = encode(VersionMismatch(version=VERSION, value=1))
_TEXT_MARK = b"AFANASY"
_TEXT_HEAD = re.compile(rb"AFANASY\s*(-?\d{1,18})\s*JSON\s*", re.IGNORECASE)
_MAX_TEXT_HEAD = 256
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_METHODS = (b"GET ", b"POST ")


class FrameKind(enum.Enum):
    """How a request came; its answer goes back in the same way."""

    TEXT = "text"
    BINARY = "binary"
    HTTP = "http"


@attrs.frozen(slots=True, kw_only=True)
class FramedRequest:
    """A whole request. `body` is its JSON, empty for an HTTP GET."""

    kind: FrameKind
    body: bytes = b""
    head: HttpHead | None = None
    """For HTTP."""


class RequestRefused(Exception):
    """The bytes are no request. `answer` is what the client gets, maybe nothing."""

    def __init__(self, why: str, answer: bytes = b"") -> None:
        super().__init__(why)
        self.answer = answer


@attrs.frozen(slots=True)
class _Begun:
    """What the head of a request says."""

    start: int
    """Where the body starts."""
    length: int
    kind: FrameKind
    head: HttpHead | None = None


class RequestReader:
    """Reads one request of at most `limit` bytes of body."""

    def __init__(self, *, limit: int = MAX_BODY) -> None:
        self._limit = limit
        self._data = bytearray()
        self._begun: _Begun | None = None
        self._searched = 0

    def feed(self, data: bytes | bytearray) -> FramedRequest | None:
        """Add bytes and return the request once it is complete, None before.

        Bytes behind the request are ignored. Raises `RequestRefused`.
        """
        # The buffer grows by what has arrived, never by an announced length.
        self._data += data
        if self._begun is None:
            try:
                self._begun = self._read_head()
            except HttpRefused as refusal:
                raise RequestRefused(refusal.text, refusal.answer().encode()) from None
        begun = self._begun
        if begun is None or len(self._data) < begun.start + begun.length:
            return None
        with memoryview(self._data) as whole:
            body = bytes(whole[begun.start : begun.start + begun.length])
        return FramedRequest(kind=begun.kind, body=body, head=begun.head)

    def _read_head(self) -> _Begun | None:
        data = self._data
        if not data:
            return None
        if _begins(data, _TEXT_MARK):
            return self._read_text_head()
        if any(_begins(data, method) for method in _METHODS):
            return self._read_http_head()
        if len(data) < _BINARY.size:
            return None
        version, number, length = _BINARY.unpack_from(data)
        if version != VERSION:
            # What a server of this version answers, also to noise: old clients stop asking then.
            raise RequestRefused(f"it begins with {bytes(data[:12])!r}", _MISMATCH)
        if number not in _TYPES:
            raise RequestRefused(f"a binary message of type {number}, not JSON")
        kind = FrameKind.BINARY if number == 24 else FrameKind.TEXT
        self._check_length(length, kind)
        return _Begun(_BINARY.size, length, kind)

    def _read_text_head(self) -> _Begun | None:
        start = self._data.find(b"{", 0, _MAX_TEXT_HEAD)
        if start < 0:
            if len(self._data) >= _MAX_TEXT_HEAD:
                raise RequestRefused("a text frame without a JSON object")
            return None
        match = _TEXT_HEAD.fullmatch(self._data, 0, start)
        if match is None:
            raise RequestRefused(f"not the head of a text frame: {bytes(self._data[:start])!r}")
        length = int(match[1])
        self._check_length(length, FrameKind.TEXT)
        return _Begun(start, length, FrameKind.TEXT)

    def _read_http_head(self) -> _Begun | None:
        # Lines may end without a carriage return: the request that CGRU's own tests send.
        end = _HEAD_END.search(self._data, self._searched)
        # A client that sends single bytes must not have the same bytes searched again each time.
        self._searched = max(0, len(self._data) - 3)
        if (end.start() if end else len(self._data)) > MAX_HEAD:
            raise HttpRefused(400, f"a head of more than {MAX_HEAD:,} bytes")
        if end is None:
            return None
        head = parse_head(bytes(self._data[: end.start()]))
        length = 0 if head.method == "GET" else body_length(head, self._limit)
        return _Begun(end.end(), length, FrameKind.HTTP, head)

    def _check_length(self, length: int, kind: FrameKind) -> None:
        if not 0 < length <= self._limit:
            text = f"A message of {length:,} bytes: expected 1 to {self._limit:,}."
            answer = frame_answer(kind, encode_json(info("error", text)))
            raise RequestRefused(text, answer)


def _begins(data: bytearray, mark: bytes) -> bool:
    """Whether the data begins with a mark, or with as much of it as has arrived."""
    size = min(len(data), len(mark))
    return data[:size].upper() == mark[:size]


def frame_answer(kind: FrameKind, body: bytes) -> bytes:
    """Put the JSON of an answer into the frame in which its request came."""
    match kind:
        case FrameKind.TEXT:
            return encode(Json(body=body, text=True))
        case FrameKind.BINARY:
            return encode(Json(body=body))
        case FrameKind.HTTP:
            return HttpAnswer(kind="application/json", body=body).encode()

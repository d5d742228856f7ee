"""The output of one run as bytes with offsets: its end is kept, and pieces of it are cut. Pure."""

from __future__ import annotations

import attrs

from trio_afrender.web.topic import encode_json_text

__all__ = ("OutputBuffer", "OutputPiece", "TaskOutput")

_SHOWN = 64 * 1024
"""Bytes of the end that a snapshot has."""
_KEPT = 4 * 1024 * 1024
"""Bytes of an output that are kept while it grows."""


@attrs.frozen(slots=True)
class OutputPiece:
    """A piece of an output: `start` and `end` are offsets in bytes."""

    start: int
    end: int
    text: str


@attrs.define(slots=True, eq=False)
class OutputBuffer:
    """An output that grows; of a long one the end is kept."""

    kept: int = _KEPT
    end: int = 0
    """Bytes so far."""
    _data: bytearray = attrs.field(factory=bytearray)

    @property
    def start(self) -> int:
        """The offset of the first byte that is kept."""
        return self.end - len(self._data)

    def add(self, text: str) -> None:
        """Add text."""
        data = text.encode("utf-8", "replace")
        self.end += len(data)
        self._data += data[-self.kept :]
        # Half as much again before the beginning goes: each cut moves all that is kept.
        if len(self._data) > self.kept * 3 // 2:
            del self._data[: len(self._data) - self.kept]

    def before(self, offset: int, limit: int) -> OutputPiece:
        """The piece of at most `limit` bytes that ends at `offset`, or nearest to it."""
        end = max(self.start, min(offset, self.end))
        return self._cut(max(self.start, end - limit), end)

    def after(self, offset: int, limit: int) -> OutputPiece:
        """The piece of at most `limit` bytes that begins at `offset`, or nearest to it."""
        start = max(self.start, min(offset, self.end))
        return self._cut(start, min(self.end, start + limit))

    def _cut(self, start: int, end: int) -> OutputPiece:
        # Not through a character of several bytes, whose later bytes are 10xxxxxx.
        first, last = start - self.start, end - self.start
        while 0 < first < len(self._data) and self._data[first] & 0xC0 == 0x80:
            first -= 1
        while first < last < len(self._data) and self._data[last] & 0xC0 == 0x80:
            last -= 1
        text = self._data[first:last].decode("utf-8", "replace")
        return OutputPiece(self.start + first, self.start + last, text)


@attrs.define(slots=True, eq=False)
class TaskOutput:
    """The output of the last attempt of a task, for those who follow it."""

    attempt: int = 0
    running: bool = False
    buffer: OutputBuffer = attrs.field(factory=OutputBuffer)
    shown: int = 0
    """The offset up to which viewers have it."""

    def describe(self, topic: str) -> str:
        """The JSON of a snapshot."""
        piece = self.buffer.before(self.shown, _SHOWN)
        return encode_json_text(
            {
                "topic": topic,
                "attempt": self.attempt,
                "running": self.running,
                "start": piece.start,
                "end": piece.end,
                "size": self.shown,
                "text": piece.text,
            }
        )

"""Cuts a run's log into the portions that a parser is given, with their exact place in the log."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence

import attrs

from trio_afrender.tasklog.interfaces import LogReader
from trio_afrender.tasklog.line_splitter import LineBatcher

__all__ = ("LogChunk", "LogChunks")

CHUNK_SIZE = 1024 * 1024
"""Bytes of log held at once."""


@attrs.frozen
class LogChunk:
    """Texts that became complete by one read, and the bytes they were decoded from."""

    start: int
    raw: bytes
    texts: Sequence[str]

    def span(self, index: int) -> tuple[int, int]:
        """Log offsets of one of the texts.

        Searched for by decoding: bytes that are no UTF-8 leave no other way back from characters.
        """
        at = 0
        for text in self.texts[:index]:
            at = self._end_of(at, len(text))
        end = len(self.raw)
        if index + 1 < len(self.texts):
            end = self._end_of(at, len(self.texts[index]))
        return self.start + at, self.start + end

    def _end_of(self, at: int, characters: int) -> int:
        """The least offset at which so many characters, decoded from `at` on, are complete."""
        low, high = at, min(len(self.raw), at + 4 * characters)
        while low < high:
            middle = (low + high) // 2
            if self._count(at, middle) < characters:
                low = middle + 1
            else:
                high = middle
        # The byte that shows the ones before it to be broken may itself be a character.
        return low - 1 if self._count(at, low) > characters else low

    def _count(self, start: int, end: int) -> int:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        return len(decoder.decode(self.raw[start:end]))


class LogChunks:
    """Reads a log from its start on, at most `PIECE` bytes at once.

    Where the quota has dropped bytes, the line before the gap ends there.
    """

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader
        self._batcher = LineBatcher()
        self._base = 0  # log offset of the batcher's first byte
        self._pending = b""  # bytes read whose text is not complete
        self.position = 0
        """Offset up to which the log was read."""

    @property
    def consumed(self) -> int:
        """Offset up to which texts were handed out."""
        return self._base + self._batcher.fed

    @property
    def tail(self) -> str:
        """The unfinished line so far."""
        return self._batcher.tail

    def read(self, upto: int) -> Iterator[LogChunk]:
        """Hand out whole lines up to offset `upto`. Raises `OSError`."""
        while self.position < upto:
            chunk = self._reader.read(self.position, min(CHUNK_SIZE, upto - self.position))
            if chunk.offset > self.position:
                yield from self._jump(chunk.offset)
            if not chunk.data:
                return
            start = self.consumed
            raw = self._pending + chunk.data
            self.position = chunk.end
            texts = self._batcher.feed(chunk.data)
            taken = self.consumed - start
            self._pending = raw[taken:]
            if texts:
                yield LogChunk(start, raw[:taken], texts)

    def finish(self) -> LogChunk:
        """Hand out the unfinished line too; what is read later begins a new one."""
        start, raw = self.consumed, self._pending
        texts = self._batcher.finish()
        self._restart(self.position)
        return LogChunk(start, raw, texts)

    def _jump(self, offset: int) -> Iterator[LogChunk]:
        block = self.finish()
        if block.texts:
            yield block
        self._restart(offset)

    def _restart(self, offset: int) -> None:
        self._batcher = LineBatcher()
        self._base = self.position = offset
        self._pending = b""

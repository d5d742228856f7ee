"""Reads a run's log in chunks for a parser, whole lines by default, with their exact offsets."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence

import attrs

from trio_afrender.tasklog.interfaces import LogReader
from trio_afrender.tasklog.line_splitter import LineBatcher

__all__ = ("LogChunk", "LogChunks")

CHUNK_SIZE = 1024 * 1024
"""Bytes of log in memory at a time."""


@attrs.frozen
class LogChunk:
    """The batches of lines that one read completed, and the bytes they were decoded from."""

    start: int
    raw: bytes
    texts: Sequence[str]

    def span(self, index: int) -> tuple[int, int]:
        """Log offsets of the start and end of a text.

        They are found by decoding again: where bytes are invalid UTF-8, the number of bytes does not
        follow from the characters.
        """
        at = 0
        for text in self.texts[:index]:
            at = self._end_of(at, len(text))
        end = len(self.raw)
        if index + 1 < len(self.texts):
            end = self._end_of(at, len(self.texts[index]))
        return self.start + at, self.start + end

    def _end_of(self, at: int, characters: int) -> int:
        """The smallest offset at which that many characters, decoded from `at`, are complete."""
        low, high = at, min(len(self.raw), at + 4 * characters)
        while low < high:
            middle = (low + high) // 2
            if self._count(at, middle) < characters:
                low = middle + 1
            else:
                high = middle
        # One byte can add two characters: U+FFFD for the invalid bytes before it, and itself.
        return low - 1 if self._count(at, low) > characters else low

    def _count(self, start: int, end: int) -> int:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        return len(decoder.decode(self.raw[start:end]))


class LogChunks:
    """Reads a log from its start, at most `CHUNK_SIZE` bytes at a time.

    Where the quota has dropped bytes, the line before the gap ends at the gap.
    """

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader
        self._batcher = LineBatcher()
        self._base = 0  # log offset of the batcher's first byte
        self._pending = b""  # bytes read whose text is not complete
        self.position: int = 0
        """Offset up to which the log was read."""

    @property
    def consumed(self) -> int:
        """Offset up to which texts were returned."""
        return self._base + self._batcher.fed

    @property
    def tail(self) -> str:
        """The unfinished line so far."""
        return self._batcher.tail

    def read(self, upto: int) -> Iterator[LogChunk]:
        """Yield the whole lines up to offset `upto`. Raises `OSError`."""
        while self.position < upto:
            chunk = self._reader.read(self.position, min(CHUNK_SIZE, upto - self.position))
            if chunk.offset > self.position:
                # The quota dropped what follows the unfinished line.
                rest = self.finish()
                if rest.texts:
                    yield rest
                self._restart(chunk.offset)
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

    def take_tail(self) -> LogChunk:
        """Return the unfinished line so far. The rest of the line is returned later, without this."""
        start = self.consumed
        text = self._batcher.take_tail()
        taken = self.consumed - start
        raw, self._pending = self._pending[:taken], self._pending[taken:]
        return LogChunk(start, raw, [text] if text else [])

    def finish(self) -> LogChunk:
        """Return the unfinished line. The next read starts a new one."""
        start, raw = self.consumed, self._pending
        texts = self._batcher.finish()
        self._restart(self.position)
        return LogChunk(start, raw, texts)

    def _restart(self, offset: int) -> None:
        self._batcher = LineBatcher()
        self._base = offset
        self.position = offset
        self._pending = b""

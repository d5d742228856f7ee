"""Splits a run's output into batches of whole lines of text, the form in which parsers get it.

A batch ends after ``\n`` or ``\r``. ``\r\n`` is one line end and is never split, even if its two bytes
arrive apart. Only lines longer than 64 KiB are split, into pieces counted from the line's own start:
a program that never ends a line cannot fill the memory, and a parser gets the same pieces however
the bytes arrived.
"""

from __future__ import annotations

import codecs

__all__ = ("MAX_LINE", "LineBatcher")

MAX_LINE = 64 * 1024
"""Bytes of a piece of a long line; up to 3 fewer where a character would be split."""

_CR = 0x0D
_LF = 0x0A


class LineBatcher:
    """Turns bytes into batches of text: UTF-8, with U+FFFD for anything else.

    The batches joined are the decoded bytes. Less than two pieces are held back at any time.
    """

    def __init__(self, piece: int = MAX_LINE) -> None:
        self._piece = piece
        self._rest = bytearray()
        """The unfinished line or piece of a line, and a last ``\r`` that may be half of ``\r\n``."""
        self._total = 0

    @property
    def fed(self) -> int:
        """How many bytes have been returned as text."""
        return self._total - len(self._rest)

    @property
    def tail(self) -> str:
        """The unfinished line, or the part of it that no batch contained."""
        return codecs.utf_8_decode(self._rest, "replace", False)[0]

    def feed(self, data: bytes) -> list[str]:
        """Return the batches that are complete now: usually one, none while a line is unfinished."""
        self._total += len(data)
        rest = self._rest
        # Fast path for a line that arrives in many small parts: joining all of them each time would
        # cost time in proportion to the square of its length.
        if (
            b"\n" not in data
            and b"\r" not in data
            and len(rest) + len(data) <= self._piece
            and not rest.endswith(b"\r")
        ):
            rest += data
            return []
        block = bytes(rest) + data if rest else data
        batches: list[str] = []
        # A \r at the end is kept until the next byte: it may be half of \r\n.
        stop = len(block) - block.endswith(b"\r")
        done = at = 0  # where the batch starts; where the line, or the piece of it, starts
        while stop - at > self._piece:
            end = _find_last_end(block, at, at + self._piece + 1)
            if end:
                # Lines that end within a piece are not long: continue after the last of them.
                at = end
                continue
            text, used = codecs.utf_8_decode(block[at : at + self._piece], "replace", False)
            batches.append(_decode(block, done, at) + text)
            done = at = at + used
        if end := max(_find_last_end(block, at, stop), at):
            if end > done:
                batches.append(_decode(block, done, end))
            done = end
        self._rest = bytearray(memoryview(block)[done:])
        return batches

    def take_tail(self) -> str:
        """Return what `tail` is, as a batch of its own: the rest of the line follows in another one.

        Nothing of a character whose last byte is missing is returned.
        """
        text, used = codecs.utf_8_decode(self._rest, "replace", False)
        del self._rest[:used]
        return text

    def finish(self) -> list[str]:
        """Return the unfinished line, if there is one, at the end of the output."""
        rest, self._rest = self._rest, bytearray()
        return [rest.decode("utf-8", "replace")] if rest else []


def _find_last_end(block: bytes, start: int, stop: int) -> int:
    """Return the offset after the last line end between `start` and `stop`, 0 if there is none."""
    last = max(block.rfind(b"\n", start, stop), block.rfind(b"\r", start, stop))
    if last < 0:
        return 0
    split = block[last] == _CR and last + 1 < len(block) and block[last + 1] == _LF
    return last + 1 + split


def _decode(block: bytes, start: int, stop: int) -> str:
    return str(memoryview(block)[start:stop], "utf-8", "replace") if stop > start else ""

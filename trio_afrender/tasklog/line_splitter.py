"""Cuts a run's bytes into batches of whole lines of text, the form in which parsers get them.

A batch may end after ``\n`` or ``\r`` (``\r\n`` is one end: nothing is cut inside it, also when
the two arrive apart) and nowhere else, but for lines longer than 64 KiB. Those are always given
in pieces, each counted from the line's own start, so that a program that never ends a line
cannot take the memory, and so that a parser sees the same pieces however the bytes arrived.
"""

from __future__ import annotations

import codecs

__all__ = ("MAX_LINE", "LineBatcher")

MAX_LINE = 64 * 1024
"""Bytes. A piece is up to 3 shorter where a character would be cut."""

_CR = 0x0D
_LF = 0x0A


class LineBatcher:
    """Fed with bytes, returns text: UTF-8, with U+FFFD for what is not.

    The batches joined are the decoded bytes. Holds less than two pieces, whatever is fed.
    """

    def __init__(self, piece: int = MAX_LINE) -> None:
        self._piece = piece
        self._rest = bytearray()
        """Of the unfinished line (or piece of a line), with a ``\r`` that may get its ``\n``."""
        self._total = 0

    @property
    def fed(self) -> int:
        """How many bytes have come back as text."""
        return self._total - len(self._rest)

    @property
    def tail(self) -> str:
        """The unfinished line so far, or the part of it that no batch has shown."""
        return codecs.utf_8_decode(self._rest, "replace", False)[0]

    def feed(self, data: bytes) -> list[str]:
        """Return the batches that are whole now, as a rule one, none while a line is unfinished."""
        self._total += len(data)
        rest = self._rest
        if (
            b"\n" not in data
            and b"\r" not in data
            and len(rest) + len(data) <= self._piece
            and not rest.endswith(b"\r")
        ):
            rest += data
            return []
        block = bytes(rest) + data if rest else data
        batches, done = self._cut(block)
        self._rest = bytearray(memoryview(block)[done:])
        return batches

    def finish(self) -> list[str]:
        """Return the unfinished line, if there is one: nothing more will come for it."""
        rest, self._rest = self._rest, bytearray()
        return [rest.decode("utf-8", "replace")] if rest else []

    def _cut(self, block: bytes) -> tuple[list[str], int]:
        """Return the batches in `block` and how many of its bytes they took."""
        batches: list[str] = []
        # The last \r waits for what follows it.
        stop = len(block) - block.endswith(b"\r")
        done = at = 0  # where the batch starts; where the line, or the piece of it, starts
        while stop - at > self._piece:
            end = _find_last_end(block, at, at + self._piece + 1)
            if end:
                # What fits into a piece with its end is no long line: go on behind the last one.
                at = end
                continue
            text, used = codecs.utf_8_decode(block[at : at + self._piece], "replace", False)
            batches.append(_decode(block, done, at) + text)
            done = at = at + used
        if end := max(_find_last_end(block, at, stop), at):
            if end > done:
                batches.append(_decode(block, done, end))
            done = end
        return batches, done


def _find_last_end(block: bytes, start: int, stop: int) -> int:
    """Return where the last line end between start and stop is over, 0 when there is none."""
    last = max(block.rfind(b"\n", start, stop), block.rfind(b"\r", start, stop))
    if last < 0:
        return 0
    split = block[last] == _CR and last + 1 < len(block) and block[last + 1] == _LF
    return last + 1 + split


def _decode(block: bytes, start: int, stop: int) -> str:
    return str(memoryview(block)[start:stop], "utf-8", "replace") if stop > start else ""

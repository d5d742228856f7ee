"""Output of programs as UTF-8: what is not is read in the code page of their console.

Windows' own programs print in that code page, others in UTF-8, and both may stand in one log. A line is the
unit, so that one program's code page does not change the lines of another.
"""

from __future__ import annotations

import codecs
from contextlib import suppress
from typing import final

from trio_afrender.text import whole_utf8_length

__all__ = ("CodePageText",)

MAX_UNFINISHED = 3
"""Bytes of a character of UTF-8 that may be missing its last one."""


@final
class CodePageText:
    """Takes the bytes of one tree as they come, and returns them in UTF-8, without delay.

    A byte that the code page does not have stays as it is, as do all of them if the code page has no codec.
    """

    def __init__(self, code_page: int) -> None:
        self._decoder: codecs.IncrementalDecoder | None = None
        with suppress(LookupError):
            self._decoder = codecs.getincrementaldecoder(f"cp{code_page}")("surrogateescape")
        self._rest = b""
        """The begin of a character of UTF-8."""
        self._in_line = False
        """Whether the line that has begun is not UTF-8."""

    def feed(self, data: bytes) -> bytes:
        """Return what is known in UTF-8; at most `MAX_UNFINISHED` bytes wait for the next call."""
        if self._decoder is None:
            return data
        data, self._rest = self._rest + data, b""
        if not self._in_line:
            whole = whole_utf8_length(data)
            if _is_utf8(data[:whole]):
                self._rest = data[whole:]
                return data[:whole]
        *lines, last = data.splitlines(keepends=True) or [b""]
        done = [self._convert(line) for line in lines]
        if not self._in_line and not last.endswith((b"\n", b"\r")):
            whole = whole_utf8_length(last)
            if _is_utf8(last[:whole]):
                last, self._rest = last[:whole], last[whole:]
        return b"".join((*done, self._convert(last)))

    def finish(self) -> bytes:
        """Return what waits, at the end of the output."""
        rest, self._rest = self._rest, b""
        return self._convert(rest, final=True) if rest or self._in_line else b""

    def _convert(self, line: bytes, *, final: bool = False) -> bytes:
        decoder = self._decoder
        assert decoder is not None  # noqa: S101 - the callers have looked
        if not self._in_line and _is_utf8(line):
            return line
        ended = final or line.endswith((b"\n", b"\r"))
        text = decoder.decode(line, ended)
        self._in_line = not ended
        return text.encode("utf-8", "surrogateescape")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True

"""Makes the head-and-tail window of a log: the part of a long output that the server gets.

A log that fits is shown whole. Otherwise its first and its last part are shown, with a marker between
them that states how many bytes and lines are left out: because of the limit, of a quota, or of a full
disk. The numbers are exact. Lines are counted as line feeds.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Protocol

import trio

from trio_afrender.tasklog.interfaces import Chunk, LogReader, Window
from trio_afrender.tasklog.io_threads import work_in_thread
from trio_afrender.tasklog.redact import MASK_COMMAND, Redactor
from trio_afrender.text import whole_utf8_length

__all__ = ("Readable", "make_window", "missing_marker", "read_window")

_CHUNK = 128 * 1024
"""Bytes that are read at once to count lines. Blocks of twice that size come from the kernel each time
(`cli.malloc`), which takes longer than the counting."""
_MAX_LINE = 1024 * 1024
"""Bytes of a line that are kept to look for a secret that it names."""
_MASK_COMMAND = MASK_COMMAND.encode()
_LINE_SEARCH = 4096
"""Bytes of the window that are given up at most to cut between two lines."""
_MAX_TRIES = 5


class Readable(Protocol):
    """A run's log, raw or displayed."""

    @property
    def folder(self) -> Path | None: ...

    def reader(self) -> LogReader: ...


async def read_window(log: Readable, limit: int, redactor: Redactor | None = None) -> Window:
    """Return the window of the log as it is now; a log on disk is read in a thread.

    Raises OSError if the disk cannot be read. Cancelled, it does not wait for the thread.
    """
    work = partial(make_window, log.reader(), limit, redactor)
    if log.folder is None:
        await trio.lowlevel.checkpoint()
        return work()
    return await work_in_thread(work, abandon=True)


def make_window(reader: LogReader, limit: int, redactor: Redactor | None = None) -> Window:
    """Return the window of a log: at most `limit` characters (of as many bytes) and a marker.

    Blocking. Bytes that are not UTF-8 are surrogate escapes, NUL is U+2400. If a cut may have split a
    secret, what can be a part of it is left out too.
    """
    redact = redactor or Redactor(())
    window, exact = _try_window(reader, max(0, limit), redact)
    for _ in range(_MAX_TRIES):
        if exact:
            break
        # The quota dropped a segment while lines were counted. If that happens each time, the number
        # of lines is wrong by those of one segment (test_a_drop_while_counting_means_counting_again).
        window, exact = _try_window(reader, max(0, limit), redact)
    return window


def missing_marker(count: int, lines: int) -> str:
    """Return the line that states how much is left out."""
    what = f"{count} byte{'s' * (count != 1)}, {lines} line{'s' * (lines != 1)}"
    return f"--- trio_afrender: {what} of output left out here ---\n"


def _try_window(reader: LogReader, limit: int, redact: Redactor) -> tuple[Window, bool]:
    """Return a window, and whether it is right: nothing was dropped, no secret learned meanwhile."""
    size = reader.size()  # the window is of so many bytes; the log may grow meanwhile
    missing = reader.missing(size)
    head = b""
    while (left := min(limit // 2, size) - len(head)) > 0:
        chunk = reader.read(len(head), left)
        if not chunk.data or chunk.offset != len(head):
            break  # a gap
        head += chunk.data
    # Not from before the end of the head, so that no byte is shown twice.
    start = at = max(len(head), size - (limit - limit // 2))
    tail = b""
    while at < size:
        chunk = reader.read(at, size - at)
        if chunk.offset >= size or not chunk.data:
            start, tail = size, b""  # all from `at` on is missing: the log ends with a gap
            break
        if chunk.offset != at:
            start, tail = chunk.offset, b""  # only what follows the last gap
        tail += _until(chunk, size)
        at = start + len(tail)
    known = len(redact.learned)
    redact.learn(_decode(head))
    redact.learn(_decode(tail))
    if start == len(head) and start + len(tail) == size:
        # Redaction can make the text longer than the bytes, so this may still not fit.
        text = _show(redact.redact(_decode(head + tail)))
        if len(text) <= limit:
            return Window(text=text, size=size), reader.missing(size) == missing
    head_text, stop = _fit_head(head, limit // 2, redact)
    tail_text, cut = _fit_tail(tail, limit - limit // 2, redact)
    start += cut
    lines = _count_lines(reader, stop, start, redact) + reader.missing(size).lines
    # The marker is a line of its own.
    if head_text and not head_text.endswith("\n"):
        head_text += "\n"
    window = Window(
        text=head_text + missing_marker(start - stop, lines) + tail_text,
        size=size,
        left_out_bytes=start - stop,
        left_out_lines=lines,
    )
    return window, reader.missing(size) == missing and len(redact.learned) == known


def _until(chunk: Chunk, end: int) -> bytes:
    return chunk.data[: end - chunk.offset]


def _count_lines(reader: LogReader, start: int, stop: int, redact: Redactor) -> int:
    """Count the line feeds that are stored between two offsets, in bounded memory.

    `redact` learns the secrets that are named there.
    """
    lines, rest, seam = 0, b"", len(_MASK_COMMAND) - 1
    while start < stop:
        chunk = reader.read(start, min(_CHUNK, stop - start))
        if not chunk.data:
            break
        data = _until(chunk, stop) if chunk.offset < stop else b""
        lines += data.count(b"\n")
        # Whole lines, because half a value would be another secret. The first one may begin in the
        # chunk before; what crosses the edge is searched apart, which copies less.
        if whole := data.rfind(b"\n") + 1:
            joint = rest + data[: min(whole, seam)]
            if _MASK_COMMAND in joint or data.find(_MASK_COMMAND, 0, whole) >= 0:
                redact.learn(_decode(rest + data[:whole]))
            rest = data[whole:]
        elif len(rest) < _MAX_LINE:
            rest = (rest + data)[:_MAX_LINE]
        start = chunk.end
    redact.learn(_decode(rest))
    return lines


def _fit_head(data: bytes, limit: int, redact: Redactor) -> tuple[str, int]:
    """Return the text to show of a head that is cut at its end, and how many bytes it stands for."""
    while True:
        feed = data.rfind(b"\n", max(0, len(data) - _search_length(data)))
        data = data[: feed + 1] if feed >= 0 else data[: whole_utf8_length(data)]
        text = _decode(data)
        spans = redact.spans(text)
        # What can be the start of a secret that the cut has split is left out. If it begins inside
        # of a complete secret, all of that one is left out too.
        stop = redact.open_end(text)
        stop = next((first for first, last in spans if first < stop < last), stop)
        shown = _show(redact.redact(text[:stop]))
        if len(shown) <= limit:
            return shown, len(_encode(text[:stop]))
        # The redaction mark is longer than a short secret: show fewer bytes
        # (test_secrets_shorter_than_their_mark_do_not_break_the_limit).
        data = data[: min(len(data) - 1, len(data) * limit // len(shown))]


def _fit_tail(data: bytes, limit: int, redact: Redactor) -> tuple[str, int]:
    """Return the text to show of a tail that is cut at its start, and how many bytes are cut off."""
    cut = 0
    while True:
        feed = data.find(b"\n", cut, cut + _search_length(data))
        if feed >= 0:
            cut = feed + 1
        else:
            # Not inside of a UTF-8 character: its bytes after the first one have the bits 10xxxxxx.
            # Where more than three of these follow each other, it is no UTF-8.
            first = range(cut, min(cut + 4, len(data)))
            cut = next((at for at in first if data[at] & 0xC0 != 0x80), cut)
        text = _decode(data[cut:])
        spans = redact.spans(text)
        # As for the head, but what can be the end of a secret is left out.
        start = redact.open_start(text)
        start = next((last for first, last in spans if first < start < last), start)
        shown = _show(redact.redact(text[start:]))
        if len(shown) <= limit:
            return shown, cut + len(_encode(text[:start]))
        # As for the head: the redaction mark can be longer than a secret.
        rest = len(data) - cut
        cut += max(1, rest - rest * limit // len(shown))


def _search_length(data: bytes) -> int:
    # Of a short part at most an eighth is given up, so that something is left to show.
    return min(_LINE_SEARCH, len(data) // 8)


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _show(text: str) -> str:
    return text.replace("\0", "\u2400")

"""Makes the head-and-tail window of a log: what a server gets to see of a long output.

The window of a log that fits is the whole log. Else the first and the last part of it stand
around a mark that says exactly how many bytes and lines are left out, be it for their number,
for a quota, or for a full disk. Lines are line feeds.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Protocol

import trio

from trio_afrender.tasklog.interfaces import Chunk, LogReader, Window
from trio_afrender.tasklog.io_threads import work_in_thread
from trio_afrender.tasklog.redact import Redactor

__all__ = ("Readable", "make_window", "missing_marker", "read_window")

_CHUNK = 1024 * 1024
_LINE_SEARCH = 4096
"""Bytes to give up, at most, so that a cut comes to lie between two lines."""
_MAX_TRIES = 5


class Readable(Protocol):
    """A log or a view of one."""

    @property
    def folder(self) -> Path | None: ...

    def reader(self) -> LogReader: ...


async def read_window(log: Readable, limit: int, redactor: Redactor | None = None) -> Window:
    """Make the window of what is there now, in a thread when it lies on disk.

    Raises OSError when the disk cannot be read. Cancelled, it does not wait for the thread.
    """
    work = partial(make_window, log.reader(), limit, redactor)
    if log.folder is None:
        await trio.lowlevel.checkpoint()
        return work()
    return await work_in_thread(work, abandon=True)


def make_window(reader: LogReader, limit: int, redactor: Redactor | None = None) -> Window:
    """Make the window of a log: at most `limit` characters (so bytes, before decoding) and a mark.

    Bytes that are not UTF-8 are surrogate escapes, NUL is U+2400. Where a cut may have split a
    secret, what could be a part of it is left out too.
    """
    hide = redactor or Redactor(())
    window, settled = _try_window(reader, max(0, limit), hide)
    for _ in range(_MAX_TRIES):
        if settled:
            break
        # The quota dropped a segment while we counted. Should it always be faster than we are,
        # the lines are off by those of one segment.
        window, settled = _try_window(reader, max(0, limit), hide)
    return window


def missing_marker(count: int, lines: int) -> str:
    """Say how much is left out, on a line of its own."""
    what = f"{count} byte{'s' * (count != 1)}, {lines} line{'s' * (lines != 1)}"
    return f"--- trio_afrender: {what} of output left out here ---\n"


def _try_window(reader: LogReader, limit: int, hide: Redactor) -> tuple[Window, bool]:
    """Make a window; also return whether nothing was dropped while it was made."""
    size = reader.size()
    gone = reader.missing(size)
    window = _window_of(reader, size, limit, hide)
    return window, reader.missing(size) == gone


def _window_of(reader: LogReader, size: int, limit: int, hide: Redactor) -> Window:
    head = _read_head(reader, min(limit // 2, size))
    start, tail = _read_tail(reader, max(len(head), size - (limit - limit // 2)), size)
    if start == len(head) and start + len(tail) == size:
        text = _show(hide.redact(_decode(head + tail)))
        if len(text) <= limit:
            return Window(text=text, size=size)
    head_text, stop = _fit_head(head, limit // 2, hide)
    tail_text, cut = _fit_tail(tail, limit - limit // 2, hide)
    start += cut
    lines = _count_lines(reader, stop, start) + reader.missing(size).lines
    if head_text and not head_text.endswith("\n"):
        head_text += "\n"
    return Window(
        text=head_text + missing_marker(start - stop, lines) + tail_text,
        size=size,
        left_out_bytes=start - stop,
        left_out_lines=lines,
    )


def _read_head(reader: LogReader, limit: int) -> bytes:
    """Read from the start to the limit or the first gap."""
    head = b""
    while len(head) < limit:
        chunk = reader.read(len(head), limit - len(head))
        if not chunk.data or chunk.offset != len(head):
            break
        head += chunk.data
    return head


def _read_tail(reader: LogReader, start: int, size: int) -> tuple[int, bytes]:
    """Read what reaches from `start`, or from the last gap after it, to the end."""
    at, tail = start, b""
    while at < size:
        chunk = reader.read(at, size - at)
        if chunk.offset >= size or not chunk.data:
            return size, b""
        if chunk.offset != at:
            start, tail = chunk.offset, b""
        tail += _until(chunk, size)
        at = start + len(tail)
    return start, tail


def _until(chunk: Chunk, end: int) -> bytes:
    return chunk.data[: end - chunk.offset]


def _count_lines(reader: LogReader, start: int, stop: int) -> int:
    """Count the line feeds that are still there between two offsets, in bounded memory."""
    lines = 0
    while start < stop:
        chunk = reader.read(start, min(_CHUNK, stop - start))
        if not chunk.data:
            break
        lines += _until(chunk, stop).count(b"\n") if chunk.offset < stop else 0
        start = chunk.end
    return lines


def _fit_head(data: bytes, room: int, hide: Redactor) -> tuple[str, int]:
    """Return what to show of a head that is cut off at its end, and how many bytes that is."""
    while True:
        feed = data.rfind(b"\n", max(0, len(data) - _near(data)))
        data = data[: feed + 1] if feed >= 0 else data[: _char_edge(data)]
        text = _decode(data)
        spans = hide.spans(text)
        stop = hide.open_end(text)
        stop = next((first for first, last in spans if first < stop < last), stop)
        shown = _show(hide.redact(text[:stop]))
        if len(shown) <= room:
            return shown, len(_encode(text[:stop]))
        # Marks are longer than short secrets: show less.
        data = data[: min(len(data) - 1, len(data) * room // len(shown))]


def _fit_tail(data: bytes, room: int, hide: Redactor) -> tuple[str, int]:
    """Return what to show of a tail that is cut off at its start, and how many bytes are not."""
    cut = 0
    while True:
        feed = data.find(b"\n", cut, cut + _near(data))
        cut = feed + 1 if feed >= 0 else _next_char(data, cut)
        text = _decode(data[cut:])
        spans = hide.spans(text)
        start = hide.open_start(text)
        start = next((last for first, last in spans if first < start < last), start)
        shown = _show(hide.redact(text[start:]))
        if len(shown) <= room:
            return shown, cut + len(_encode(text[:start]))
        kept = len(data) - cut
        cut += max(1, kept - kept * room // len(shown))


def _near(data: bytes) -> int:
    return min(_LINE_SEARCH, len(data) // 8)


def _char_edge(data: bytes) -> int:
    """Return where the last whole character ends, when the data stops inside of one."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) if length <= back else len(data) - back
        if byte < 0x80:
            break
    return len(data)


def _next_char(data: bytes, start: int) -> int:
    """Return where the next character starts, when the data starts inside of one."""
    for at in range(start, min(start + 4, len(data))):
        if data[at] & 0xC0 != 0x80:
            return at
    return start


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _show(text: str) -> str:
    return text.replace("\0", "\u2400")

"""Faults and prints of plugin code, limited in size, for the task's log."""

from __future__ import annotations

import io
import sys
import threading

__all__ = ("Captured", "Problems", "capturing", "route_prints", "shorten_middle")

MAX_TEXT = 8 * 1024
"""Characters of one problem."""
MAX_DIFFERENT = 20
"""Different problems reported for one run."""
MAX_PRINTED = 8 * 1024
"""Characters kept of the start of what was printed, and as many of its end."""


def shorten_middle(text: str, limit: int = MAX_TEXT) -> str:
    """The text; one over `limit` characters without its middle, because a traceback begins with the
    call and ends with the error."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"


class Problems:
    """Collects problems. Each is reported once, then again at its 10th, 100th ... occurrence."""

    def __init__(self) -> None:
        self._times: dict[str, int] = {}
        self._fresh: list[str] = []

    def add(self, text: str, *, always: bool = False) -> str:
        """Count a problem. Return the text to report for it now, empty if it was reported before.

        `always`: one that comes once and states the outcome of a run is no kind too many.
        """
        text = shorten_middle(text.strip()) or "a problem without a text"
        if text not in self._times and len(self._times) > MAX_DIFFERENT and not always:
            return ""
        times = self._times[text] = self._times.get(text, 0) + 1
        report = ""
        if times == 1:
            # The first one over the limit is replaced by a notice; further ones are not counted.
            more = "more problems of other kinds follow; they are not shown"
            report = more if len(self._times) > MAX_DIFFERENT and not always else text
        elif times >= 10 and str(times).rstrip("0") == "1":
            report = f"{text.splitlines()[-1]} ({times} times)"
        if report:
            self._fresh.append(report)
        return report

    def take(self) -> tuple[str, ...]:
        """The reports since the last call of this method."""
        fresh, self._fresh = self._fresh, []
        return tuple(fresh)


class Captured:
    """Start and end of what plugin code printed."""

    def __init__(self) -> None:
        self._head = ""
        self._tail = ""
        self._left_out = 0

    def write(self, text: str) -> None:
        room = MAX_PRINTED - len(self._head)
        if room > 0:
            self._head += text[:room]
            text = text[room:]
        if text:
            tail = self._tail + text[-MAX_PRINTED:]
            self._left_out += len(self._tail) + len(text) - min(len(tail), MAX_PRINTED)
            self._tail = tail[-MAX_PRINTED:]

    def take(self) -> str:
        """What was printed since the last call of this method."""
        gap = f"\n[{self._left_out} characters left out]\n" if self._left_out else ""
        text = self._head + gap + self._tail
        self._head, self._tail, self._left_out = "", "", 0
        return text


_sinks: dict[int, Captured] = {}
"""By thread number: the receiver of its prints."""
_NO_THREAD = -1
"""A number that no thread has: an entry under it keeps the routers installed."""


class _Router(io.TextIOBase):
    """Replaces ``sys.stdout``: passes prints of capturing threads to their sinks, others to `original`."""

    def __init__(self, original: io.TextIOBase) -> None:
        self.original = original

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        # By thread, because a plugin host runs plugins of several runs, each in a thread of its own.
        sink = _sinks.get(threading.get_ident())
        if sink is None:
            return self.original.write(text)
        sink.write(str(text))
        return len(text)

    def flush(self) -> None:
        if threading.get_ident() not in _sinks:
            self.original.flush()


def route_prints() -> None:
    """Install the routers for the rest of the process: for one in which many threads capture."""
    _sinks[_NO_THREAD] = Captured()
    _install_routers()


def _install_routers() -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, _Router):
            setattr(sys, name, _Router(stream))


class capturing:
    """Send the prints of this thread to `captured`; those of other threads are not affected.

    A router replaces ``sys.stdout`` and ``sys.stderr`` only while a thread captures.
    """

    __slots__ = ("_captured", "_outer", "_thread")

    def __init__(self, captured: Captured) -> None:
        self._captured = captured

    def __enter__(self) -> None:
        self._thread = threading.get_ident()
        self._outer = _sinks.get(self._thread)
        _sinks[self._thread] = self._captured
        _install_routers()

    def __exit__(self, *_: object) -> None:
        if self._outer is not None:
            _sinks[self._thread] = self._outer
            return
        del _sinks[self._thread]
        if not _sinks:
            for name in ("stdout", "stderr"):
                stream = getattr(sys, name)
                if isinstance(stream, _Router):
                    setattr(sys, name, stream.original)

"""What goes wrong in plugin code and what it prints, kept within bounds for the task's log."""

from __future__ import annotations

import io
import sys
import threading

__all__ = ("Captured", "Problems", "capturing", "route_prints", "shorten")

MAX_TEXT = 8 * 1024
"""Characters of one problem."""
MAX_DIFFERENT = 20
"""Different problems told of one run."""
MAX_PRINTED = 8 * 1024
"""Characters kept of the beginning of what was printed, and as many of the end."""


def shorten(text: str, limit: int = MAX_TEXT) -> str:
    """The text, without its middle when it is too long: what matters stands at both ends."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"


class Problems:
    """Collects problems: each is told once, then again at its 10th, 100th ... time."""

    def __init__(self) -> None:
        self._times: dict[str, int] = {}
        self._fresh: list[str] = []

    def add(self, text: str) -> str:
        """Note a problem; return what is to be said of it now, empty when it is old news."""
        text = shorten(text.strip())
        said = self._judge(text)
        if said:
            self._fresh.append(said)
        return said

    def take(self) -> tuple[str, ...]:
        """What was said since the last call of this."""
        fresh, self._fresh = self._fresh, []
        return tuple(fresh)

    def _judge(self, text: str) -> str:
        if text not in self._times:
            if len(self._times) > MAX_DIFFERENT:
                return ""
            self._times[text] = 1
            if len(self._times) > MAX_DIFFERENT:
                return "more problems of other kinds follow; they are not shown"
            return text
        self._times[text] += 1
        times = self._times[text]
        if times >= 10 and set(str(times)[1:]) == {"0"} and str(times)[0] == "1":
            return f"{text.splitlines()[-1]} ({times} times)"
        return ""


class Captured:
    """What plugin code printed: the beginning and the end."""

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
        """What was printed since the last call of this."""
        gap = f"\n[{self._left_out} characters left out]\n" if self._left_out else ""
        text = self._head + gap + self._tail
        self._head, self._tail, self._left_out = "", "", 0
        return text


_sinks: dict[int, Captured] = {}
"""By thread: where its prints go."""
_NO_THREAD = -1
"""No thread's number: a sink under it keeps the router in place."""


class _Router(io.TextIOBase):
    """Stands for ``sys.stdout``: gives a plugin's prints to its run, others to `kept`."""

    def __init__(self, kept: io.TextIOBase) -> None:
        self.kept = kept

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        sink = _sinks.get(threading.get_ident())
        if sink is None:
            return self.kept.write(text)
        sink.write(str(text))
        return len(text)

    def flush(self) -> None:
        if threading.get_ident() not in _sinks:
            self.kept.flush()


def route_prints() -> None:
    """Put the routers in place for good: for a process in which many threads capture."""
    _sinks[_NO_THREAD] = Captured()
    _place_routers()


def _place_routers() -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, _Router):
            setattr(sys, name, _Router(stream))


class capturing:
    """Send what this thread prints to `captured`; other threads print where they did.

    Leaves a router as ``sys.stdout`` and ``sys.stderr`` only while something is captured.
    """

    __slots__ = ("_captured", "_outer", "_thread")

    def __init__(self, captured: Captured) -> None:
        self._captured = captured

    def __enter__(self) -> None:
        self._thread = threading.get_ident()
        self._outer = _sinks.get(self._thread)
        _sinks[self._thread] = self._captured
        _place_routers()

    def __exit__(self, *_: object) -> None:
        if self._outer is not None:
            _sinks[self._thread] = self._outer
            return
        del _sinks[self._thread]
        if not _sinks:
            for name in ("stdout", "stderr"):
                stream = getattr(sys, name)
                if isinstance(stream, _Router):
                    setattr(sys, name, stream.kept)

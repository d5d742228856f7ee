"""A time limit for plugin code that runs in this process."""

from __future__ import annotations

import signal
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from trio_afrender.errors import PluginError

__all__ = ("limited",)

_STDLIB = sysconfig.get_path("stdlib")
REINTERRUPT_DELAY = 1.0
"""Seconds until plugin code that caught the interruption is interrupted again."""


class _TooLong(KeyboardInterrupt):
    """Interrupts the body. Our code that catches errors of plugins lets KeyboardInterrupt pass."""


@contextmanager
def limited(seconds: float, name: str) -> Iterator[None]:
    """Raise `PluginError` if the body takes more than `seconds`; 0: no limit.

    The error names `name` and the line that was running. For the main thread only. Regular
    expressions are interrupted, too; a C library that does not return is not.
    """
    if not seconds or not hasattr(signal, "setitimer"):
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        # Both within: the timer may go off before the body begins, or once more after its end.
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds, REINTERRUPT_DELAY)
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
    except _TooLong as error:
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.name != "interrupt"
        ]
        # The plugin's line is more useful than a line of the standard library that it calls (re).
        own = [frame for frame in frames if not frame.filename.startswith(_STDLIB)]
        where = (own or frames)[-1]
        raise PluginError(
            f"{name} did not end in {seconds:g} s; it was at {where.filename}, line"
            f" {where.lineno}, in {where.name}; --limit allows more time",
            details="".join(traceback.format_list(frames)),
        ) from None
    finally:
        signal.signal(signal.SIGALRM, before)

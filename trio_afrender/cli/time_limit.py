"""A time limit for plugin code in this very process, where a person waits for it."""

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
"""Seconds until plugin code that swallowed the interruption gets another."""


class _TooLong(KeyboardInterrupt):
    """Passes where Ctrl-C passes: through everything that catches what plugins raise."""


@contextmanager
def limited(seconds: float, who: str) -> Iterator[None]:
    """Raise `PluginError`, which says where `who` was, when the body takes more than `seconds`.

    0: no limit. For the main thread. Regular expressions are interrupted too; a C library that
    never comes back is not.
    """
    if not seconds or not hasattr(signal, "setitimer"):
        yield
        return

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, REINTERRUPT_DELAY)
    try:
        yield
    except _TooLong as error:
        frames = [
            frame for frame in traceback.extract_tb(error.__traceback__) if frame.name != "ring"
        ]
        # Rather the plugin's own line than one of the regular expressions' module that it calls.
        own = [frame for frame in frames if not frame.filename.startswith(_STDLIB)]
        where = (own or frames)[-1]
        raise PluginError(
            f"{who} did not come to an end in {seconds:g} s; it was at {where.filename}, line"
            f" {where.lineno}, in {where.name}; --limit gives it more",
            details="".join(traceback.format_list(frames)),
        ) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)

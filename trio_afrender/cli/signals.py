"""SIGINT, SIGTERM and SIGHUP, on Windows CTRL_BREAK and the end of the session: received and counted."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count

import trio

from trio_afrender.process.session_end import watch_session_end

__all__ = ("ignore_signals", "open_signals")


@asynccontextmanager
async def open_signals(act: Callable[[int, str], None]) -> AsyncIterator[None]:
    """Call `act` with the count and the name of each signal while the body runs.

    SIGHUP, sent when the terminal is closed, counts as SIGTERM does, unless it was ignored when the
    process started (``nohup``). The body is not cancelled: signals are also received while it ends
    after an error.
    """

    numbers = count(1)

    async def watch(task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(*_received()) as signals:
            task_status.started()
            async for number in signals:
                act(next(numbers), _NAMES.get(number) or signal.Signals(number).name)

    async with trio.open_nursery() as nursery:
        await nursery.start(watch)
        try:
            with watch_session_end(lambda what: act(next(numbers), what)):
                yield
        finally:
            nursery.cancel_scope.cancel()


def ignore_signals() -> None:
    """Ignore the signals until this process ends, for final work that is short and must be done."""
    for number in _received():
        signal.signal(number, signal.SIG_IGN)


_BREAK: signal.Signals | None = getattr(signal, "SIGBREAK", None)
"""CTRL_BREAK of Windows; None elsewhere."""
_NAMES: dict[int, str] = {signal.SIGINT: "Ctrl-C"}
if _BREAK is not None:
    _NAMES[_BREAK] = "Ctrl-Break"


def _received() -> tuple[signal.Signals, ...]:
    plain = (signal.SIGINT, signal.SIGTERM)
    if _BREAK is not None:
        return (*plain, _BREAK)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return plain
    return (*plain, signal.SIGHUP)

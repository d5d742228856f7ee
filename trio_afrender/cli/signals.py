"""SIGINT, SIGTERM and SIGHUP: one trio task receives and counts them."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

__all__ = ("ignore_signals", "open_signals")


@asynccontextmanager
async def open_signals(act: Callable[[int, str], None]) -> AsyncIterator[None]:
    """Call `act` with the count and the name of each signal while the body runs.

    SIGHUP, sent when the terminal is closed, counts as SIGTERM does, unless it was ignored when the
    process started (``nohup``). The body is not cancelled: signals are also received while it ends
    after an error.
    """

    async def watch(task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(*_received()) as signals:
            task_status.started()
            count = 0
            async for number in signals:
                count += 1
                act(count, "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name)

    async with trio.open_nursery() as nursery:
        await nursery.start(watch)
        try:
            yield
        finally:
            nursery.cancel_scope.cancel()


def ignore_signals() -> None:
    """Ignore the signals until this process ends, for final work that is short and must be done."""
    for number in _received():
        signal.signal(number, signal.SIG_IGN)


def _received() -> tuple[signal.Signals, ...]:
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none
    if hangup is None or signal.getsignal(hangup) is signal.SIG_IGN:
        return (signal.SIGINT, signal.SIGTERM)
    return (signal.SIGINT, signal.SIGTERM, hangup)

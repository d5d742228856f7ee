"""SIGINT and SIGTERM: one trio task receives and counts them."""

from __future__ import annotations

import signal
from collections.abc import Callable

import trio

__all__ = ("ignore_signals", "watch_signals")


async def watch_signals(
    act: Callable[[int, str], None],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Call `act` with the count and the name of each signal. Runs until cancelled."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        count = 0
        async for number in signals:
            count += 1
            act(count, "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name)


def ignore_signals() -> None:
    """Ignore both signals until this process ends, for final work that is short and must be done."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)

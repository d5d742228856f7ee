"""Reports an agent to systemd: ready, status, watchdog, stopping.

The protocol is that of sd_notify(3) and sd_watchdog_enabled(3): datagrams to ``NOTIFY_SOCKET``,
``WATCHDOG=1`` at least every ``WATCHDOG_USEC`` microseconds. Without these variables nothing is sent.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from typing import Protocol

import trio

__all__ = ("Reported", "report_to_manager")

logger: logging.Logger = logging.getLogger(__name__)

FIRST, PERIOD = 0.5, 10.0
"""Seconds between two status reports without a watchdog. The pause doubles from the first to the
second: while the agent starts, ``systemctl status`` is up to date."""


class Reported(Protocol):
    """The part of an agent's handle that is reported."""

    @property
    def state(self) -> str: ...

    @property
    def running(self) -> tuple[object, ...]: ...

    def check(self) -> tuple[str, ...]: ...

    async def finished(self) -> None: ...


async def report_to_manager(handle: Reported, environ: Mapping[str, str] = os.environ) -> None:
    """Report the agent to systemd until it has deregistered.

    ``WATCHDOG=1`` is sent only while no loop of the agent is late; the log names a late one. A
    watchdog for another process (``WATCHDOG_PID``) is ignored.
    """
    path = environ.get("NOTIFY_SOCKET", "")
    if not path or not hasattr(socket, "AF_UNIX"):  # Windows has no such manager
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as datagrams:
        datagrams.setblocking(False)
        # "@" stands for the NUL of an abstract socket.
        notifier = _Notifier(datagrams, f"\0{path[1:]}" if path.startswith("@") else path)
        ready = notifier.notify("READY=1")
        watchdog = 0.0  # seconds within which systemd expects ``WATCHDOG=1``; 0: no watchdog
        try:
            if int(environ.get("WATCHDOG_PID") or os.getpid()) == os.getpid():
                watchdog = max(0, int(environ.get("WATCHDOG_USEC") or 0)) / 1e6
        except ValueError:
            logger.warning("WATCHDOG_PID or WATCHDOG_USEC is not a number: no watchdog is fed")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_report, handle, notifier, watchdog, ready)
            await handle.finished()
            nursery.cancel_scope.cancel()
        notifier.notify("STOPPING=1")


class _Notifier:
    """Sends notifications; a status only if it has changed."""

    def __init__(self, datagrams: socket.socket, address: str) -> None:
        self._datagrams = datagrams
        self._address = address
        self._status = ""

    def notify(self, text: str) -> bool:
        """Send a notification; False if systemd, busy or restarting, does not take it now."""
        try:
            self._datagrams.sendto(text.encode(), self._address)
        except OSError:
            return False
        return True

    def status(self, text: str) -> None:
        if text != self._status and self.notify(f"STATUS={text}"):
            self._status = text


async def _report(handle: Reported, notifier: _Notifier, watchdog: float, ready: bool) -> None:
    draining = False
    logged: tuple[str, ...] = ()
    # A third of the interval: two notifications may be late or lost.
    period = min(PERIOD, watchdog / 3) if watchdog else PERIOD
    pause = FIRST
    while True:
        # systemd stops an agent from which this has never come.
        ready = ready or notifier.notify("READY=1")
        late = handle.check()
        if late and late != logged:
            logger.error("the watchdog is not fed: %s", "; ".join(late))
        logged = late
        if watchdog and not late:
            notifier.notify("WATCHDOG=1")
        count = len(handle.running)
        notifier.status(f"{handle.state}, {count} task{'' if count == 1 else 's'} running")
        if handle.state == "draining" and not draining:
            draining = notifier.notify("STOPPING=1")
        pause = min(2 * pause, period)
        await trio.sleep(pause)

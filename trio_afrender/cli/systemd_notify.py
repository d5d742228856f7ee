"""What systemd is told of an agent: ready, what it does, that it lives, that it is leaving.

The protocol is that of sd_notify(3) and sd_watchdog_enabled(3): datagrams to ``NOTIFY_SOCKET``,
``WATCHDOG=1`` within each ``WATCHDOG_USEC`` microseconds. Without these variables nothing is done.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

import trio

__all__ = ("Reported", "report_to_manager")

logger = logging.getLogger(__name__)

FIRST, PERIOD = 0.5, 10.0
"""Seconds between two looks at what the agent does, without a watchdog: soon while it comes up, when
somebody may be watching, then less and less often."""


class Reported(Protocol):
    """The part of an agent's handle that is told."""

    @property
    def state(self) -> str: ...

    @property
    def running(self) -> tuple[object, ...]: ...

    def check(self) -> tuple[str, ...]: ...

    async def finished(self) -> None: ...


async def report_to_manager(handle: Reported, environ: Mapping[str, str] = os.environ) -> None:
    """Tell the service manager about the agent until that has said goodbye.

    The watchdog is fed only while no loop of the agent is late; the log says which one is. A
    watchdog that was meant for another process (``WATCHDOG_PID``) is left alone.
    """
    path = environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as speaker:
        speaker.setblocking(False)
        talk = _Notifier(speaker, f"\0{path[1:]}" if path.startswith("@") else path)
        talk.notify("READY=1")
        watchdog = _watchdog(environ)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_report, handle, talk, watchdog)
            await handle.finished()
            nursery.cancel_scope.cancel()
        talk.notify("STOPPING=1")


class _Notifier:
    """Says each thing that changed, and each sign of life."""

    def __init__(self, speaker: socket.socket, address: str) -> None:
        self._speaker = speaker
        self._address = address
        self._status = ""

    def notify(self, text: str) -> None:
        # A manager that is being restarted or is busy: the next word will reach it.
        with suppress(OSError):
            self._speaker.sendto(text.encode(), self._address)

    def status(self, text: str) -> None:
        if text != self._status:
            self._status = text
            self.notify(f"STATUS={text}")


async def _report(handle: Reported, talk: _Notifier, watchdog: float) -> None:
    draining = False
    complaints: tuple[str, ...] = ()
    period = min(PERIOD, watchdog / 3) if watchdog else PERIOD
    pause = FIRST
    while True:
        late = handle.check()
        if late and late != complaints:
            logger.error("the watchdog is not fed: %s", "; ".join(late))
        complaints = late
        if watchdog and not late:
            talk.notify("WATCHDOG=1")
        count = len(handle.running)
        talk.status(f"{handle.state}, {count} task{'' if count == 1 else 's'} running")
        if handle.state == "draining" and not draining:
            draining = True
            talk.notify("STOPPING=1")
        pause = min(2 * pause, period)
        await trio.sleep(pause)


def _watchdog(environ: Mapping[str, str]) -> float:
    """Seconds within which a sign of life is due; 0: nobody waits for one."""
    try:
        if int(environ.get("WATCHDOG_PID") or os.getpid()) != os.getpid():
            return 0.0
        return max(0, int(environ.get("WATCHDOG_USEC") or 0)) / 1e6
    except ValueError:
        logger.warning("WATCHDOG_PID or WATCHDOG_USEC is no number: no watchdog is fed")
        return 0.0

"""The end of a user's session (logoff, shutdown, a console that is closed), where no signal says it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

__all__ = ("SECOND_REQUEST", "watch_session_end")

SECOND_REQUEST = 3.0
"""Seconds after which the running tasks are stopped: Windows gives a program few to end."""


@contextmanager
def watch_session_end(act: Callable[[str], None]) -> Iterator[None]:
    """Call `act` in trio's thread with what ends the session, and again after `SECOND_REQUEST` seconds.

    Only on Windows; elsewhere signals say it. Windows waits for the end of the body, for some seconds.
    """
    if sys.platform == "win32":
        with _open_window(act):
            yield
    else:
        yield


@contextmanager
def _open_window(act: Callable[[str], None]) -> Iterator[None]:
    from trio_afrender.process.windows.session_window import SessionWindow

    token = trio.lowlevel.current_trio_token()
    seen: list[str] = []

    def tell(what: str) -> None:
        # Windows may send several messages for one end.
        if not seen:
            seen.append(what)
            token.run_sync_soon(trio.lowlevel.spawn_system_task, repeat, what)

    async def repeat(what: str) -> None:
        act(what)
        await trio.sleep(SECOND_REQUEST)
        act(what)

    window = SessionWindow(tell)
    window.open()
    try:
        yield
    finally:
        window.close()

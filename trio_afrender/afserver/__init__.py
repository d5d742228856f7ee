"""Afanasy's own protocol as a link: what is said, believed, remembered, and when. `link` ties it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from trio_afrender.afserver.client import AnswerLost, Dialer
from trio_afrender.afserver.link_state import Identity, LinkState
from trio_afrender.afserver.render_link import AfserverLink, make_run
from trio_afrender.afserver.requests import AfserverRequests
from trio_afrender.config import Timing
from trio_afrender.protocol.messages import TaskExec

__all__ = (
    "AfserverLink",
    "AnswerLost",
    "Dialer",
    "Identity",
    "LinkState",
    "open_afserver_link",
)


@asynccontextmanager
async def open_afserver_link(
    dialer: Dialer,
    memory: LinkState,
    timing: Timing,
    *,
    make_run: Callable[[TaskExec], str] = make_run,
) -> AsyncIterator[AfserverLink]:
    """A link to an Afanasy server; it has nothing open, so leaving closes nothing.

    All links of one render share a `memory`. Nobody is asked before `register`, so who is not
    there is found out by that.
    """
    await trio.lowlevel.checkpoint()
    yield AfserverLink(AfserverRequests(dialer, memory), memory, timing, make_run=make_run)

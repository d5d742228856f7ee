"""Client of an afserver: a render's link in Afanasy's own protocol, and jobs over the JSON API.

`render_link` ties the link's parts together. `registration` and `requests` make the exchanges,
`client` does one exchange, and the rest decides without I/O. `remote_farm` is what users see and
steer of a farm, an afserver or the embedded one, over `json_api`; `job_follower` follows one job.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from trio_afrender.afserver.client import AnswerLost, Dialer
from trio_afrender.afserver.link_state import Identity, LinkState
from trio_afrender.afserver.render_link import AfserverLink
from trio_afrender.afserver.requests import AfserverRequests
from trio_afrender.config import Timing

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
    dialer: Dialer, state: LinkState, timing: Timing
) -> AsyncIterator[AfserverLink]:
    """Make a link to an afserver. All links of one render share a `state`.

    Every message has its own connection, so entering connects to nothing and leaving closes
    nothing. A server that does not answer is noticed by `AfserverLink.register`.
    """
    await trio.lowlevel.checkpoint()
    yield AfserverLink(AfserverRequests(dialer, state), state, timing)

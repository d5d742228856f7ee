"""One session of a render: the handshake, then a reader that applies updates and a writer.

Reader and writer share only the farm's state. A render that does not read delays its own writer
alone, and its outbox conflates meanwhile.
"""

from __future__ import annotations

import logging
from typing import Protocol

import attrs
import trio

from trio_afrender.errors import LinkLost, ProtocolError
from trio_afrender.farm import renders
from trio_afrender.farm.model import RenderState
from trio_afrender.farm.state import FarmState
from trio_afrender.farm.updates import apply_update
from trio_afrender.protocol.messages import (
    Ack,
    Deregister,
    Refused,
    Register,
    Registered,
    Unknown,
    Update,
)
from trio_afrender.transport.interfaces import ServerLink

__all__ = ("RenderSession", "SessionOwner", "run_session")

_log = logging.getLogger(__name__)

_CLOSE_TIMEOUT = 5.0
"""Seconds for closing a link."""
_MAX_UNKNOWN_TYPES = 20
"""Unknown message types that are logged for one session."""


@attrs.define(slots=True, eq=False, kw_only=True)
class RenderSession:
    """One link of a render, from its first message to its last."""

    id: int
    link: ServerLink
    name: str | None = None
    """The render, once it has registered."""
    wake: trio.Event = attrs.field(factory=trio.Event)
    """Set when there is something to send."""
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """Cancelled when the render is lost or superseded, or the farm closes."""
    seq: int = 0
    """The highest number of an update that has been applied and stored: to acknowledge."""
    unknown: set[str] = attrs.field(factory=set)
    """Unknown message types that have been logged."""
    left: bool = False
    """Whether the render has deregistered: the end of its link is no loss."""


class SessionOwner(Protocol):
    """What a session needs of the farm that it belongs to."""

    def add_session(self, link: ServerLink) -> RenderSession:
        """Give a link its session number."""
        ...

    def name_session(self, session: RenderSession, name: str) -> None:
        """Note the render that a session has registered."""
        ...

    def remove_session(self, session: RenderSession) -> None:
        """Forget a session that has ended."""
        ...

    def dispatch(self) -> None:
        """Hand out tasks, and send out what the state has collected."""
        ...

    async def dispatch_and_store(self) -> None:
        """`dispatch`, then wait until the texts in it are stored."""
        ...


async def run_session(owner: SessionOwner, state: FarmState, link: ServerLink) -> None:
    """Serve a link until it ends, then close it. May be cancelled: the render reconnects."""
    session = owner.add_session(link)
    try:
        with session.scope:
            await _run(owner, state, session)
    except LinkLost as error:
        if not session.left:
            _log.info("%s: %s", _describe(session), error)
    except ProtocolError as error:
        _log.warning("%s: closed: %s", _describe(session), error)
    finally:
        owner.remove_session(session)
        # Also when cancelled: the render gets a close frame instead of silence.
        with trio.CancelScope(shield=True), trio.move_on_after(_CLOSE_TIMEOUT):
            await link.aclose()


def _describe(session: RenderSession) -> str:
    peer = ascii(session.link.peer)
    return f"render {session.name!r} at {peer}" if session.name else f"connection from {peer}"


async def _run(owner: SessionOwner, state: FarmState, session: RenderSession) -> None:
    if not await _handshake(owner, state, session):
        return
    assert session.name is not None  # noqa: S101 - `_handshake` has set it
    render = state.renders.get(session.name)
    if render is None:
        return  # deleted: it was silent while the answer was sent
    ends: list[LinkLost | ProtocolError] = []

    async def write() -> None:
        acked = 0
        try:
            while True:
                await session.wake.wait()
                session.wake = trio.Event()
                if session.seq > acked:
                    acked = session.seq
                    await session.link.send(Ack(seq=acked))
                while events := renders.take_events(state, render, session.id):
                    await session.link.send(events)
        except (LinkLost, ProtocolError) as error:
            ends.append(error)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        try:
            await _read(owner, state, session, render)
        except (LinkLost, ProtocolError) as error:
            ends.append(error)
        nursery.cancel_scope.cancel()
    if ends:
        # A protocol error makes the reader end, and the writer may then fail on the closed link:
        # the protocol error is the cause.
        raise next((end for end in ends if isinstance(end, ProtocolError)), ends[0])


async def _handshake(owner: SessionOwner, state: FarmState, session: RenderSession) -> bool:
    """Register the render; False if it is refused or does not register in time."""
    link = session.link
    with trio.move_on_after(state.settings.handshake) as waiting:
        first = await link.receive()
    if waiting.cancelled_caught:
        _log.warning("%s: closed: did not register", _describe(session))
        return False
    if not isinstance(first, Register):
        raise ProtocolError(f"{type(first).__name__} before Register")
    answer: Registered | Refused
    if link.can_register(first.name):
        answer = renders.register(state, first, session.id, link.peer, trio.current_time())
    else:
        answer = Refused(reason="unauthorized", text="the token is not for this name")
    if isinstance(answer, Registered):
        owner.name_session(session, first.name)
        _log.info("%s: registered", _describe(session))
    else:
        _log.warning("%s: refused %r: %s", _describe(session), first.name, answer.reason)
    owner.dispatch()
    # The answer is the first message: the writer, which sends the tasks that the registration
    # brought, starts after this.
    await link.send(answer)
    session.wake.set()
    return isinstance(answer, Registered)


async def _read(
    owner: SessionOwner, state: FarmState, session: RenderSession, render: RenderState
) -> None:
    while True:
        message = await session.link.receive()
        renders.seen(state, render, session.id, trio.current_time(), busy=True)
        match message:
            case Update():
                # Apply, store, then acknowledge and close: until its texts are stored the render
                # keeps the update, so nothing is lost when the farm fails.
                closes = apply_update(state, render, session.id, message, trio.current_time())
                await owner.dispatch_and_store()
                session.seq = max(session.seq, message.seq)
                renders.close_runs(state, render, session.id, closes)
                session.wake.set()
            case Deregister():
                now = trio.current_time()
                renders.deregister(state, render, session.id, message.reason, now)
                # Before the texts are stored: meanwhile the render closes the link.
                session.left = True
                _log.info("%s: left: %s", _describe(session), message.reason)
                await owner.dispatch_and_store()
                return
            case Unknown():
                kind = message.type[:100]
                if kind not in session.unknown and len(session.unknown) < _MAX_UNKNOWN_TYPES:
                    session.unknown.add(kind)
                    _log.warning("%s: message of unknown type %r skipped", _describe(session), kind)
            case Register():
                raise ProtocolError("a second Register")
        renders.seen(state, render, session.id, trio.current_time(), busy=False)

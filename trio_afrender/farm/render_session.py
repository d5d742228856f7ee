"""One render's session: handshake, then a reader that applies and a writer that pushes.

Reader and writer share nothing but the state: a render that does not read holds up its own
writer and nobody else, and what it is to be told conflates in its outbox meanwhile.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import attrs
import trio

from trio_afrender.errors import LinkLost, ProtocolError
from trio_afrender.farm.state_machine import FarmStateMachine
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

if TYPE_CHECKING:
    from trio_afrender.farm.farm import Farm

__all__ = ("RenderSession", "run_session")

_log = logging.getLogger(__name__)

_CLOSING = 5.0
_UNKNOWN_KINDS = 20
"""Types that are logged for one session."""


@attrs.define(slots=True, eq=False, kw_only=True)
class RenderSession:
    """One link of a render, from its first message to its last."""

    id: int
    link: ServerLink
    name: str | None = None
    """The render, once it has registered."""
    wake: trio.Event = attrs.field(factory=trio.Event)
    """There is something to send."""
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    """Cancelled when the render is lost or superseded, or the farm closes."""
    seq: int = 0
    """The highest number received; acknowledged by the writer."""
    unknown: set[str] = attrs.field(factory=set)


async def run_session(farm: Farm, state: FarmStateMachine, link: ServerLink) -> None:
    """Serve a link until it ends, and close it. Cancelling it is safe: the render reconnects."""
    session = farm.add_session(link)
    try:
        with session.scope:
            await _serve(farm, state, session)
    except LinkLost as error:
        _log.info("%s: %s", _who(session), error)
    except ProtocolError as error:
        _log.warning("%s: closed: %s", _who(session), error)
    finally:
        farm.remove_session(session)
        with trio.CancelScope(shield=True), trio.move_on_after(_CLOSING):
            await link.aclose()


def _who(session: RenderSession) -> str:
    peer = ascii(session.link.peer)
    return f"render {session.name!r} at {peer}" if session.name else f"connection from {peer}"


async def _serve(farm: Farm, state: FarmStateMachine, session: RenderSession) -> None:
    if not await _greet(farm, state, session):
        return
    ends: list[LinkLost | ProtocolError] = []

    async def write() -> None:
        try:
            await _write(state, session)
        except (LinkLost, ProtocolError) as error:
            ends.append(error)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        try:
            await _read(farm, state, session)
        except (LinkLost, ProtocolError) as error:
            ends.append(error)
        nursery.cancel_scope.cancel()
    if ends:
        # While the reader closes on nonsense, the writer may find the link closed: that is no cause.
        raise next((end for end in ends if isinstance(end, ProtocolError)), ends[0])


async def _greet(farm: Farm, state: FarmStateMachine, session: RenderSession) -> bool:
    """Register the render; False when it is refused, or says nothing in time."""
    link = session.link
    with trio.move_on_after(farm.settings.handshake) as waiting:
        first = await link.receive()
    if waiting.cancelled_caught:
        _log.warning("%s: closed: did not register", _who(session))
        return False
    if not isinstance(first, Register):
        raise ProtocolError(f"{type(first).__name__} before Register")
    answer: Registered | Refused
    if link.can_register(first.name):
        answer = state.register(first, session.id, link.peer, trio.current_time())
    else:
        answer = Refused(reason="unauthorized", text="the token is not for this name")
    if isinstance(answer, Registered):
        farm.name_session(session, first.name)
        _log.info("%s: registered", _who(session))
    else:
        _log.warning("%s: refused %r: %s", _who(session), first.name, answer.reason)
    farm.act()
    # What the registration brought goes out behind its answer: the writer starts after this.
    await link.send(answer)
    session.wake.set()
    return isinstance(answer, Registered)


async def _read(farm: Farm, state: FarmStateMachine, session: RenderSession) -> None:
    name = session.name
    assert name is not None  # noqa: S101 - `_greet` has set it
    while True:
        message = await session.link.receive()
        state.seen(name, session.id, trio.current_time(), busy=True)
        match message:
            case Update():
                await _take_update(farm, state, session, name, message)
            case Deregister():
                state.deregister(name, session.id, message.reason, trio.current_time())
                await farm.act_and_store()
                _log.info("%s: left: %s", _who(session), message.reason)
                return
            case Unknown():
                _note_unknown(session, message.type[:100])
            case Register():
                raise ProtocolError("a second Register")
        state.seen(name, session.id, trio.current_time(), busy=False)


def _note_unknown(session: RenderSession, kind: str) -> None:
    if kind not in session.unknown and len(session.unknown) < _UNKNOWN_KINDS:
        session.unknown.add(kind)
        _log.warning("%s: message of unknown type %r skipped", _who(session), kind)


async def _take_update(
    farm: Farm, state: FarmStateMachine, session: RenderSession, name: str, update: Update
) -> None:
    """Apply, store, then acknowledge and close: in this order nothing is lost with us."""
    closes = state.apply(name, session.id, update, trio.current_time())
    await farm.act_and_store()
    session.seq = max(session.seq, update.seq)
    state.close(name, session.id, closes)
    session.wake.set()


async def _write(state: FarmStateMachine, session: RenderSession) -> None:
    name = session.name
    assert name is not None  # noqa: S101 - `_greet` has set it
    acked = 0
    while True:
        await session.wake.wait()
        session.wake = trio.Event()
        if session.seq > acked:
            acked = session.seq
            await session.link.send(Ack(seq=acked))
        while events := state.take_events(name, session.id):
            await session.link.send(events)

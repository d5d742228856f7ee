"""One name: a render at the server, and the websocket of its agent, which may come and go.

The native link is the render's, not the websocket's: while the agent is away for a moment, its
signs of life go on. A new websocket gets a new native link with the memory of the old one, which
asks the server what it believes and goes on from there; the old one ends its exchange first, so
that none of this is ever cut short.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import attrs
import trio

from trio_afrender.afserver import AfserverLink, LinkState
from trio_afrender.errors import AfRenderError, LinkLost
from trio_afrender.gateway.agent_session import AgentSession
from trio_afrender.gateway.counters import GatewayCounters
from trio_afrender.gateway.pending_commands import PendingCommands, undelivered
from trio_afrender.protocol.messages import (
    Ack,
    Events,
    Refused,
    Register,
    Registered,
    TaskExec,
    Update,
)

__all__ = ("RenderProxy",)

_log = logging.getLogger(__name__)


@attrs.define(eq=False)
class RenderProxy:
    """Made when an agent registers under a name; forgotten when it is offline and nobody's."""

    name: str
    memory: LinkState
    counters: GatewayCounters
    _nursery: trio.Nursery
    _open_link: Callable[[LinkState], AfserverLink]
    _forgotten: Callable[[], None]
    """Told when it may be that nobody has or wants it any more."""
    pending_sessions: int = 0
    """Websockets that are about to have this render."""
    session: AgentSession | None = None
    _link: AfserverLink | None = None
    _register: Register | None = None
    """Of the agent that was here last."""
    _tasks: tuple[TaskExec, ...] = ()
    """What it had when its native link ended."""
    _wishes: PendingCommands = attrs.field(factory=PendingCommands)
    _lock: trio.Lock = attrs.field(factory=trio.Lock)
    _pumped: trio.Event = attrs.field(factory=trio.Event)
    _returned: trio.Event | None = None
    """Its agent is away; set when it is back."""

    @property
    def idle(self) -> bool:
        """Whether nobody has or wants it."""
        return not self.pending_sessions and self.session is None and self._returned is None

    # -- agents come and go ---------------------------------------------------------------------

    async def attach(self, session: AgentSession, register: Register) -> Registered | Refused:
        """Make `session` this render's, registering at the server or going on there.

        Raises `LinkLost`, `LinkRefused` and `ProtocolError` when that is not to be had.
        """
        async with self._lock:
            if self.session is not None:
                if not self._is_ours(register):
                    return self._name_taken()
                self.session.end("this render has another connection")
                self.session = None
            self._welcome_back()
            await self._retire("its agent has come back")
            return await self._begin(session, register)

    async def _begin(self, session: AgentSession, register: Register) -> Registered | Refused:
        listed = {task.run for task in (*register.running, *register.undelivered)}
        lost = undelivered(self._register, register, self._tasks)
        # By this the server tells one render of a name from another: an agent need not say it.
        launched = register.time_launch or self.memory.identity.time_launch or int(time.time())
        link = self._open_link(self.memory)
        said = await link.register(
            attrs.evolve(register, running=(*register.running, *lost), time_launch=launched)
        )
        if isinstance(said, Refused):
            return said
        self._register, self.session, self._link = register, session, link
        self._welcome_back()
        again = self._wishes.again(said.resume, lost)
        if again is not None:
            session.put(again)
            self.counters.tasks += len(again.tasks)
        self._pumped = trio.Event()
        self._nursery.start_soon(self._pump, link, self._pumped)
        return self._wishes.answer(said, listed)

    def _welcome_back(self) -> None:
        """Nobody waits for the agent any more. Said when it comes and again when it is in: one that
        gave up meanwhile may have left later than the next one came."""
        if self._returned is not None:
            self._returned.set()
            self._returned = None

    def _is_ours(self, register: Register) -> bool:
        """Whether it lists a run that only the agent can know that is here: its old websocket is
        dead then, and we have not noticed."""
        ours = {task.run for task in self._link.tasks} if self._link is not None else set()
        return any(task.run in ours for task in (*register.running, *register.undelivered))

    def _name_taken(self) -> Refused:
        text = f'a render "{self.name}" is online through this gateway'
        return Refused(
            reason="name-taken", text=text, retry_after=min(5.0, self.memory.pace.zombie / 4)
        )

    def detach(self, session: AgentSession) -> None:
        """The websocket is over. For one zombie time the render stays online without it."""
        if self.session is session:
            self.session = None
        doubtful = self.memory.unconfirmed_since is not None
        known = self._link is not None or self._register is not None or doubtful
        if self.session is None and self._returned is None and known:
            self._returned = trio.Event()
            self._nursery.start_soon(self._outlive, self._returned)
        self._forgotten()

    async def _outlive(self, returned: trio.Event) -> None:
        with trio.move_on_after(self.memory.pace.zombie):
            await returned.wait()
        async with self._lock:
            if self._returned is returned:
                self._returned = None
                if self._link is not None:
                    _log.info("render %a: its agent stays away, deregistering", self.name)
                    self.counters.renders_given_up += 1
                    await self._deregister("its agent stays away")
        self._forgotten()

    async def leave(self, session: AgentSession, reason: str) -> None:
        """The agent says goodbye: its tasks are ready for anybody."""
        async with self._lock:
            if self.session is session:
                _log.info("%s: left: %s", session, reason)
                self.session = None
                await self._deregister(reason)

    async def stop(self, why: str) -> None:
        """End what is in hand and close the websocket, so that another gateway can go on. The
        server is told nothing."""
        async with self._lock:
            await self._retire(why)
            if self.session is not None:
                self.session.end(why)
                await self.session.over.wait()

    async def _deregister(self, reason: str) -> None:
        if self._link is not None:
            try:
                await self._link.deregister(reason)
            except AfRenderError as error:
                # Left alone, the server will count it as a zombie, which comes to the same.
                _log.warning("render %a: not deregistered: %s", self.name, error)
            await self._retire(reason)
        self._tasks, self._register, self._wishes = (), None, PendingCommands()

    async def _retire(self, why: str) -> None:
        """End the native link, but no exchange of it half way."""
        if self._link is not None:
            await self._link.retire(why)
            await self._pumped.wait()  # by which it is no longer ours: `_lose`

    # -- what is said ---------------------------------------------------------------------------

    async def update(self, session: AgentSession, update: Update) -> None:
        """Pass an update on. It is acknowledged when the server has answered."""
        link = self._link
        if self.session is not session or link is None:
            raise LinkLost("this render has another connection")
        self.counters.updates += 1
        self.counters.outcomes += sum(task.status.terminal for task in update.tasks)
        try:
            await link.send(update)
        except AfRenderError as error:
            raise LinkLost(str(error)) from error

    async def _pump(self, link: AfserverLink, done: trio.Event) -> None:
        """Give signs of life, and pass on what the server says, as long as the link lives."""
        try:
            while True:
                self._hear(await link.receive(), link)
        except AfRenderError as error:
            self._lose(link, str(error))
        except Exception:  # noqa: BLE001 - one render must not end the others
            _log.exception("render %a: failed", self.name)
            self._lose(link, "an error of the gateway")
        finally:
            done.set()

    def _hear(self, said: Events | Ack, link: AfserverLink) -> None:
        if isinstance(said, Events):
            runs = {task.run for task in link.tasks}
            self._wishes.heard(said, runs, there=self.session is not None)
        if self.session is not None:
            self.session.put(said)
            if isinstance(said, Events):
                self.counters.tasks += len(said.tasks)

    def _lose(self, link: AfserverLink, why: str) -> None:
        """The server did not answer, or has forgotten us: the agent comes again and says what it
        has, which is more than we know."""
        if self._link is link:
            _log.info("render %a: %s", self.name, why)
            self._link, self._tasks = None, link.tasks
            if self.session is not None:
                self.session.end(why)

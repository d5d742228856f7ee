"""One render name: a render at the server, and the websocket of its agent, which may reconnect.

The native link belongs to the render, not to the websocket: while the agent is disconnected, the
link continues to send heartbeats. Each new websocket gets a new native link with the `LinkState` of
the old one. The new link asks the server for its view of the render and continues from there. The
old link finishes its exchange before that, so that no exchange is cut short.
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
    Events,
    LogEntry,
    Refused,
    Register,
    Registered,
    TaskExec,
    TaskStatus,
    TaskUpdate,
    Update,
)
from trio_afrender.transport.repeated_lines import RepeatedLines

__all__ = ("RenderProxy",)

_log = logging.getLogger(__name__)


@attrs.define(eq=False)
class RenderProxy:
    """Made when an agent registers under a name; dropped when it is offline and `idle`."""

    name: str
    link_state: LinkState
    counters: GatewayCounters
    lines: RepeatedLines
    _nursery: trio.Nursery
    _open_link: Callable[[LinkState, bytes], AfserverLink]
    """Opens a native link whose exchanges take the turns of a token."""
    _drop_idle: Callable[[], None]
    """Called when this render may have become idle."""
    pending_sessions: int = 0
    """Websockets that registered under this name and have not ended."""
    session: AgentSession | None = None
    _link: AfserverLink | None = None
    _register: Register | None = None
    """The register of the last agent."""
    _tasks: tuple[TaskExec, ...] = ()
    """The tasks of the render when its native link ended."""
    _pending: PendingCommands = attrs.field(factory=PendingCommands)
    _lock: trio.Lock = attrs.field(factory=trio.Lock)
    _pumped: trio.Event = attrs.field(factory=trio.Event)
    _returned: trio.Event | None = None
    """None while an agent is connected; else the event that its return sets."""

    @property
    def idle(self) -> bool:
        """Whether no agent has this render, is about to have it or is waited for."""
        return not self.pending_sessions and self.session is None and self._returned is None

    def _log(self, kind: str, text: str, level: int = logging.INFO) -> None:
        self.lines.log(level, self.name, kind, "render %a: %s", self.name, text)

    # -- sessions of agents ---------------------------------------------------------------------

    async def attach(self, session: AgentSession, register: Register) -> Registered | Refused:
        """Connect a session to this render: register at the server, or continue there.

        Raises `LinkLost`, `LinkRefused` and `ProtocolError` if the server does not accept it.
        """
        listed = {task.run for task in (*register.running, *register.undelivered)}
        async with self._lock:
            if self.session is not None:
                own = {task.run for task in self._link.tasks} if self._link is not None else set()
                if own.isdisjoint(listed):
                    return Refused(
                        reason="name-taken",
                        text=f'a render "{self.name}" is online through this gateway',
                        retry_after=min(5.0, self.link_state.pace.zombie / 4),
                    )
                # Run ids are random, so a listed one comes from the same agent: its old websocket is
                # dead, and the gateway has not noticed that yet.
                self.session.end("this render has another connection")
                self.session = None
            self._end_wait_for_agent()
            await self._retire("its agent has reconnected")
            lost = undelivered(self._register, register, self._tasks)
            # The server distinguishes renders of one name by the launch time, which agents need not
            # send.
            launched = (
                register.time_launch or self.link_state.identity.time_launch or int(time.time())
            )
            link = self._open_link(self.link_state, session.token)
            answer = await link.register(
                attrs.evolve(register, running=(*register.running, *lost), time_launch=launched)
            )
            if isinstance(answer, Refused):
                return answer
            # Without its runs, which may be thousands: the link has them.
            self._register = attrs.evolve(register, running=(), undelivered=())
            self.session, self._link = session, link
            # Once more: a session that gave up during the register may have started the wait again,
            # `test_a_session_that_gives_up_during_the_next_register_does_not_end_the_render`.
            self._end_wait_for_agent()
            repeated = self._pending.repeat(answer.resume, lost)
            if repeated is not None:
                session.put(repeated)
                self.counters.tasks += len(repeated.tasks)
            self._pumped = trio.Event()
            self._nursery.start_soon(self._pump, link, self._pumped)
            return self._pending.complete_answer(answer, listed)

    def _end_wait_for_agent(self) -> None:
        """End `_wait_for_agent`, if it runs."""
        if self._returned is not None:
            self._returned.set()
            self._returned = None

    def detach(self, session: AgentSession) -> None:
        """Note that a websocket has ended. The render stays online without it for a zombie time."""
        if self.session is session:
            self.session = None
        unconfirmed = self.link_state.unconfirmed_since is not None
        known = self._link is not None or self._register is not None or unconfirmed
        if self.session is None and self._returned is None and known:
            self._returned = trio.Event()
            self._nursery.start_soon(self._wait_for_agent, self._returned)
        self._drop_idle()

    async def _wait_for_agent(self, returned: trio.Event) -> None:
        """Wait a zombie time for the agent, then deregister the render."""
        with trio.move_on_after(self.link_state.pace.zombie):
            await returned.wait()
        async with self._lock:
            if self._returned is returned:
                self._returned = None
                if self._link is not None:
                    self._log("lost agents", "its agent did not reconnect, deregistering")
                    self.counters.renders_given_up += 1
                    await self._deregister("its agent did not reconnect")
        self._drop_idle()

    async def leave(self, session: AgentSession, reason: str) -> None:
        """Deregister the render, as its agent asks: its tasks are ready for other renders."""
        async with self._lock:
            if self.session is session:
                self._log("agents that left", reason)
                self.session = None
                await self._deregister(reason)

    async def stop(self, why: str) -> None:
        """Finish the exchange in progress and close the websocket, so that another gateway can
        continue. The server is not notified."""
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
                # The server will count it as a zombie, which has the same effect later.
                self._log("failed deregisters", f"not deregistered: {error}", logging.WARNING)
            await self._retire(reason)
        self._tasks, self._register, self._pending = (), None, PendingCommands()

    async def _retire(self, why: str) -> None:
        """End the native link after its exchange in progress."""
        if self._link is not None:
            await self._link.retire(why)
            await self._pumped.wait()  # `_pump` then calls `_drop_link`

    # -- messages -------------------------------------------------------------------------------

    async def update(self, session: AgentSession, update: Update) -> None:
        """Forward an update. It is acknowledged when the server has answered."""
        link = self._link
        if self.session is not session or link is None:
            raise LinkLost("this render has another connection")
        self.counters.updates += 1
        self.counters.outcomes += sum(task.status.terminal for task in update.tasks)
        try:
            await link.send(update)
        except AfRenderError as error:
            raise LinkLost(str(error)) from error

    async def refuse(self, session: AgentSession, task: TaskExec, reason: str) -> None:
        """Report a task as one that cannot start: no message to the agent can have it."""
        text = f"the gateway cannot send the task: {reason}"
        self._log("refused tasks", f"task {task.key}: {text}", logging.WARNING)
        outcome = TaskUpdate(
            run=task.run,
            **task.key._asdict(),
            status=TaskStatus.FailedToStart,
            finished=time.time(),
        )
        log = LogEntry(run=task.run, n=1, text=f"{text}\n")
        await self.update(session, Update(seq=0, tasks=(outcome,), log=(log,)))

    async def _pump(self, link: AfserverLink, done: trio.Event) -> None:
        """Forward messages of the server until the link ends. Its `receive` sends the heartbeats."""
        try:
            while True:
                message = await link.receive()
                if isinstance(message, Events):
                    runs = {task.run for task in link.tasks}
                    self._pending.note(message, runs, connected=self.session is not None)
                if self.session is not None:
                    self.session.put(message)
                    if isinstance(message, Events):
                        self.counters.tasks += len(message.tasks)
        except AfRenderError as error:
            self._drop_link(link, str(error))
        except Exception:  # noqa: BLE001 - a fault in one render must not end the others
            _log.exception("render %a: failed", self.name)
            self._drop_link(link, "an error of the gateway")
        finally:
            done.set()

    def _drop_link(self, link: AfserverLink, why: str) -> None:
        """Drop a link that has failed, and end the session: the server did not answer, or does not
        know the render. The agent reconnects and lists its runs, which the gateway does not know.
        """
        if self._link is link:
            self._log("lost links", why)
            self._link, self._tasks = None, link.tasks
            if self.session is not None:
                self.session.end(why)

"""The render's end of Afanasy's own protocol: a `Link` that is one TCP exchange a message.

There is no connection that lives: a link lives as long as its exchanges are answered. One that is
not ends it, and the next link asks the server what it believes of us before it goes on. So a
render whose server was away for a moment goes on under its id, with all its runs, without a
register that would be refused because the server still counts it online.
"""

from __future__ import annotations

import logging
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import trio

from trio_afrender.afserver.link_state import LinkState
from trio_afrender.afserver.lost_tasks import LostTasks
from trio_afrender.afserver.pacing import resolve
from trio_afrender.afserver.registration import NIMBY, Registration
from trio_afrender.afserver.requests import AfserverRequests
from trio_afrender.afserver.run_ids import RunIds
from trio_afrender.afserver.server_view import RegistrationStatus, check_registration
from trio_afrender.afserver.task_updates import give_back, make_heartbeat, make_update
from trio_afrender.config import Timing
from trio_afrender.errors import AfRenderError, LinkLost
from trio_afrender.protocol.afanasy import RenderEvents, RenderId, RenderUpdate, TaskUp
from trio_afrender.protocol.messages import (
    Ack,
    Events,
    Refused,
    Register,
    Registered,
    RunRef,
    TaskExec,
    TaskKey,
    TaskStatus,
    Update,
)
from trio_afrender.transport.websocket_connection import printable

__all__ = ("AfserverLink", "make_run")

_log = logging.getLogger(__name__)

VIEW_CHECK_INTERVAL = 60.0
"""Seconds between two looks at what the server believes that we run."""


def make_run(task: TaskExec) -> str:
    """A name for a run that nobody used before."""
    return f"{task.key}-{secrets.token_hex(8)}"


class AfserverLink:
    """A `Link` of exchanges, one after the other. `receive` is what gives the signs of life."""

    def __init__(
        self,
        desk: AfserverRequests,
        memory: LinkState,
        timing: Timing,
        *,
        make_run: Callable[[TaskExec], str] = make_run,
    ) -> None:
        self._desk = desk
        self._memory = memory
        self._timing = timing
        self._runs = RunIds(make_run)
        self._doubts = LostTasks()
        self._finals: dict[TaskKey, TaskUp] = {}
        """Outcomes that were told and not closed."""
        self._inbox: deque[Events | Ack] = deque()
        self._news = trio.Event()
        self._lock = trio.Lock()
        self._lost = ""
        self._check_at = trio.current_time() + VIEW_CHECK_INTERVAL
        self._entry = Registration(desk, memory, timing)

    @property
    def tasks(self) -> tuple[TaskExec, ...]:
        """The runs that the server has handed out here and not closed, outcomes that wait included."""
        return self._runs.tasks

    async def retire(self, why: str) -> None:
        """End this link once its exchange is over, so that another one goes on with its memory.

        What was answered so far can still be received.
        """
        async with self._lock:
            self._lost = self._lost or why
            self._news.set()

    async def register(self, register: Register) -> Registered | Refused:
        """Go on as the render that the server still has online, or register."""
        self._runs.take(register)
        self._memory.forget({task.run for task in self._runs.tasks})
        async with self._turn():
            answer = await self._entry.register(register, self._runs)
        if isinstance(answer, Refused):
            return answer
        self._doubts.update_view(answer.unknown)
        if answer.events is not None:
            self._push(answer.events)
        return answer.registered

    async def send(self, update: Update) -> None:
        """Exchange an update for what the server has for us; `receive` hands that out."""
        if update.state is not None:
            self._memory.pausing = bool(update.state & NIMBY)
        async with self._turn():
            if _says_something(update):
                number = self._memory.identity.id
                await self._exchange(make_update(number, update, self._runs, self._memory))
        self._push(Ack(seq=update.seq))
        self._close_strangers(update)

    def _close_strangers(self, update: Update) -> None:
        """Close outcomes of which the server cannot be told, for want of a task that they are of:
        what it is never told it never closes, and they would be held for ever."""
        strangers = tuple(
            RunRef.of(task)
            for task in update.tasks
            if task.status.terminal and self._runs.key_of(task.run) is None
        )
        if strangers:
            self._push(Events(closes=strangers))

    async def receive(self) -> Events | Ack:
        """The next of what was answered. Meanwhile the server is given signs of life."""
        await trio.lowlevel.checkpoint()
        while not self._inbox:
            if self._lost:
                raise LinkLost(self._lost)
            self._news = trio.Event()
            with trio.move_on_at(self._memory.pace.next) as pause:
                await self._news.wait()
            if pause.cancelled_caught:
                await self._beat()
        return self._inbox.popleft()

    async def deregister(self, reason: str) -> None:
        """Leave; the tasks that the server believes here are ready for anybody at once."""
        async with self._turn():
            await self._desk.deregister(self._memory.identity.id)
            await self._memory.save_identity(time_launch=0)
            self._memory.pausing = False
            await self._entry.sync_pause()

    async def _beat(self) -> None:
        async with self._turn():
            if trio.current_time() < self._memory.pace.next:
                return  # an update went out while we waited for our turn
            if trio.current_time() >= self._check_at:
                self._check_at = trio.current_time() + VIEW_CHECK_INTERVAL
                await self._compare(frozenset())
            number, finals = self._memory.identity.id, tuple(self._finals.values())
            await self._exchange(make_heartbeat(number, self._runs, self._memory, finals))
            await (
                self._entry.sync_pause()
            )  # not in `send`: who leaves at once need not be paused before

    async def _exchange(self, message: RenderUpdate) -> None:
        began = trio.current_time()
        finals = {up.key: up for up in message.taskups if up.status > TaskStatus.Warning}
        self._finals.update(finals)
        returns = give_back(message.id, self._doubts.returns)
        said = await self._desk.send_update(
            attrs.evolve(message, taskups=(*message.taskups, *returns))
        )
        self._memory.asked.clear()
        told = {up.key for up in message.taskups}
        self._memory.moved = {
            run for run in self._memory.moved if self._runs.key_of(run) not in told
        }
        self._memory.pace.exchanged(began)
        if finals:
            self._memory.pace.ended(trio.current_time())
        await self._hear(said)

    async def _hear(self, said: RenderEvents | RenderId) -> None:
        if said.id != self._memory.identity.id:
            log = f": {printable(said.log)}" if isinstance(said, RenderEvents) else ""
            raise LinkLost(f"{self._desk.url}: this render is to register{log}", register_now=True)
        stopped: frozenset[TaskKey] = frozenset()
        if isinstance(said, RenderEvents):
            stopped = self._hear_events(said)
        fresh = self._doubts.answered(self._runs)
        if stopped:
            await self._compare(stopped)
        if fresh or stopped:
            self._memory.pace.next = trio.current_time()

    def _hear_events(self, said: RenderEvents) -> frozenset[TaskKey]:
        """Hand out what was said; return the tasks to stop that we do not run."""
        heard = self._runs.apply_update_answer(said)
        for key in said.closes:
            self._finals.pop(key, None)
        self._doubts.closed(said.closes)
        self._memory.forget({task.run for task in self._runs.tasks})
        settings = resolve(said, self._timing)
        self._memory.pace.change(settings)
        if said.tasks:
            self._memory.pace.begun()
        events = attrs.evolve(heard.events or Events(), **settings)
        if events != Events():
            self._push(events)
        return heard.unknown

    async def _compare(self, stopped: frozenset[TaskKey]) -> None:
        """Look at what the server believes that we run, when it spoke of what we do not run, and
        every minute."""
        identity = self._memory.identity
        belief = await self._desk.server_view(identity.id, self._entry.registered_as.name)
        if (
            belief is None
            or check_registration(belief, identity.id, identity.time_launch)
            is not RegistrationStatus.OURS
        ):
            raise LinkLost(f"{self._desk.url}: the server has us differently", register_now=True)
        self._doubts.compared(belief, self._runs, stopped)

    def _push(self, message: Events | Ack) -> None:
        self._inbox.append(message)
        self._news.set()

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        """One exchange after the other; whatever goes wrong in one is the end of the link."""
        async with self._lock:
            if self._lost:
                raise LinkLost(self._lost)
            try:
                yield
            except BaseException as error:
                known = isinstance(error, AfRenderError)
                self._lost = str(error) if known else f"{self._desk.url}: an exchange was cut short"
                self._news.set()
                raise


def _says_something(update: Update) -> bool:
    said = (update.tasks, update.outputs, update.log, update.listened, update.files)
    return any(said) or update.resources is not None

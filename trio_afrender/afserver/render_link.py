"""The render's end of Afanasy's own protocol: a `Link` that makes one TCP exchange a message.

The protocol has no lasting connection. A link exists as long as its exchanges are answered; the
first one without an answer ends it. The next link asks the server for its view of this render and
continues from there. So a render whose server was away for a moment continues under its id, with
all its runs. It does not register, because the server refuses a register while it counts the
render as online.

The server answers an update at once with what it has for this render: tasks, closes, stops and
requests. `send` and the heartbeats of `receive` make the exchanges, and `receive` returns what the
answers contain.
"""

from __future__ import annotations

import logging
import secrets
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from trio_afrender.afserver.link_state import LinkState
from trio_afrender.afserver.lost_tasks import LostTasks
from trio_afrender.afserver.pacing import resolve
from trio_afrender.afserver.registration import Registration
from trio_afrender.afserver.requests import AfserverRequests
from trio_afrender.afserver.run_ids import RunIds
from trio_afrender.afserver.server_view import RegistrationStatus, check_registration
from trio_afrender.afserver.task_updates import give_back, make_heartbeat, make_update
from trio_afrender.config import Timing
from trio_afrender.errors import AfRenderError, LinkLost
from trio_afrender.protocol.afanasy import RenderEvents, RenderUpdate, TaskUp
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
from trio_afrender.text import printable

__all__ = ("AfserverLink",)

_log = logging.getLogger(__name__)

MAX_REPEATED = 4 * 2**20
"""Bytes and characters of the outcomes that a heartbeat repeats. A hundred tasks that end together
with 1 MiB of output each would exceed the 64 MiB of a message."""
VIEW_CHECK_INTERVAL = 60.0
"""Seconds between two comparisons of the server's list of tasks with the runs here."""


class AfserverLink:
    """A `Link` whose exchanges follow one another. `receive` also sends the heartbeats."""

    def __init__(self, requests: AfserverRequests, state: LinkState, timing: Timing) -> None:
        self._requests = requests
        self._state = state
        self._timing = timing
        self._runs = RunIds(lambda task: f"{task.key}-{secrets.token_hex(8)}")
        self._lost_tasks = LostTasks()
        self._unclosed: dict[TaskKey, TaskUp] = {}
        """Outcomes that were sent and not closed."""
        self._inbox: deque[Events | Ack] = deque()
        self._changed = trio.Event()
        """Set when the inbox has a message and when the link is lost."""
        self._lock = trio.Lock()
        self._lost = ""
        """Why the link is lost; empty while it is not."""
        self._check_at = trio.current_time() + VIEW_CHECK_INTERVAL
        self._registration = Registration(requests, state, timing)

    @property
    def tasks(self) -> tuple[TaskExec, ...]:
        """The runs that the server has started here and not closed, ended ones included."""
        return self._runs.tasks

    async def retire(self, why: str) -> None:
        """End this link once its present exchange is over, so that another link can continue.

        Messages of earlier answers can still be received.
        """
        async with self._lock:
            self._lost = self._lost or why
            self._changed.set()

    async def register(self, register: Register) -> Registered | Refused:
        """Register, or continue as the render that the server still has online."""
        self._runs.take(register)
        self._state.forget({task.run for task in self._runs.tasks})
        async with self._exclusive():
            result = await self._registration.register(register, self._runs)
        if isinstance(result, Refused):
            return result
        self._lost_tasks.update_view(result.unknown)
        if result.events is not None:
            self._push(result.events)
        return result.registered

    async def send(self, update: Update) -> None:
        """Send an update; `receive` returns the `Ack` and the contents of the answer."""
        # An update has no field for the nimby state. The next heartbeat sets the render's paused
        # state instead (`Registration.sync_states`).
        if update.state is not None:
            self._registration.note_state(update.state)
        contents = (update.tasks, update.outputs, update.log, update.listened, update.files)
        async with self._exclusive():
            # An update without contents is not sent: `receive` sends the heartbeats.
            if any(contents) or update.resources is not None:
                number = self._state.identity.id
                await self._exchange(make_update(number, update, self._runs, self._state))
        self._push(Ack(seq=update.seq))
        # An outcome of a run without a task cannot be sent. The server closes only what it has
        # received, so the link closes it, or the agent would hold it for ever
        # (test_an_outcome_of_an_unknown_task_is_closed_by_the_link).
        unknown = tuple(
            RunRef.of(task)
            for task in update.tasks
            if task.status.terminal and self._runs.key_of(task.run) is None
        )
        if unknown:
            self._push(Events(closes=unknown))

    async def receive(self) -> Events | Ack:
        """Return the next message; send a heartbeat whenever one is due in the meantime."""
        await trio.lowlevel.checkpoint()
        while not self._inbox:
            if self._lost:
                raise LinkLost(self._lost)
            self._changed = trio.Event()
            with trio.move_on_at(self._state.pace.next) as waiting:
                await self._changed.wait()
            if waiting.cancelled_caught:
                try:
                    await self._send_heartbeat()
                except AfRenderError:
                    # A request after the exchange may have failed. What the exchange has brought is
                    # handed out all the same, and then the link is lost.
                    if not self._inbox:
                        raise
        return self._inbox.popleft()

    async def deregister(self, reason: str) -> None:
        """Deregister. The server makes all tasks that it lists on this render ready at once."""
        async with self._exclusive():
            await self._requests.deregister(self._state.identity.id)
            await self._state.save_identity(time_launch=0)
            # The pause is undone after the deregister, so that no task is handed out in between.
            self._state.pausing = False
            await self._registration.sync_states()

    async def _send_heartbeat(self) -> None:
        async with self._exclusive():
            if trio.current_time() < self._state.pace.next:
                return  # `send` made an exchange while this one waited for the lock.
            if trio.current_time() >= self._check_at:
                # Whatever made the two lists differ (a lost answer, a fault of the server), the
                # difference is found here
                # (test_the_lists_of_tasks_are_compared_once_a_minute).
                self._check_at = trio.current_time() + VIEW_CHECK_INTERVAL
                await self._compare_views(frozenset())
            number, outcomes = self._state.identity.id, self._take_repeated()
            # Those that are left out have ended as well, and do not count as running.
            ended = self._unclosed.keys()
            heartbeat = make_heartbeat(number, self._runs, self._state, outcomes, ended)
            await self._exchange(heartbeat)
            # Here and not in `send`: a pause takes a server cycle, and a render that leaves at
            # once does not need one.
            await self._registration.sync_states()

    def _take_repeated(self) -> tuple[TaskUp, ...]:
        """Return outcomes to repeat, by turns if they are too much for one message."""
        taken: list[TaskUp] = []
        size = 0
        for up in self._unclosed.values():
            size += _long_parts(up)
            if taken and size > MAX_REPEATED:
                break
            taken.append(up)
        for up in taken:
            self._unclosed[up.key] = self._unclosed.pop(up.key)
        return tuple(taken)

    async def _exchange(self, message: RenderUpdate) -> None:
        began = trio.current_time()
        # An outcome is repeated with every heartbeat until the server closes it
        # (test_trap_08_outcomes_are_repeated_until_closed).
        outcomes = {up.key: up for up in message.taskups if up.status > TaskStatus.Warning}
        self._unclosed.update(outcomes)
        returns = give_back(message.id, self._lost_tasks.returns)
        answer = await self._requests.send_update(
            attrs.evolve(message, taskups=(*message.taskups, *returns))
        )
        self._state.pace.exchanged(began)
        if outcomes:
            self._state.pace.ended(trio.current_time())
        if answer.id != self._state.identity.id:
            # -1: the server does not know the id or counts the render as offline. It has used
            # nothing of the update, so outcomes stay in the outbox until they are closed.
            log = f": {printable(answer.log)}" if isinstance(answer, RenderEvents) else ""
            raise LinkLost(
                f"{self._requests.url}: this render has to register{log}", register_now=True
            )
        # The server has used the message. Until then outputs and progress marks stay, to be sent again
        # by the next link (test_an_asked_output_outlives_a_server_that_forgot_the_render).
        self._state.asked_outputs.clear()
        sent = {up.key for up in message.taskups}
        self._state.unsent_progress = {
            run for run in self._state.unsent_progress if self._runs.key_of(run) not in sent
        }
        stopped = frozenset[TaskKey]()
        if isinstance(answer, RenderEvents):
            result = self._runs.apply_update_answer(answer)
            stopped = result.unknown
            # The outcome of an earlier run must not end a later one, whose exec may come without a
            # close (test_an_outcome_is_not_repeated_for_a_later_run).
            over = (*answer.closes, *(task.key for task in answer.tasks))
            for key in over:
                self._unclosed.pop(key, None)
            self._lost_tasks.closed(over)
            self._state.forget({task.run for task in self._runs.tasks})
            settings = resolve(answer, self._timing)
            self._state.pace.change(settings)
            if answer.tasks:
                self._state.pace.begun()
            events = attrs.evolve(result.events or Events(), **settings)
            if events != Events():
                self._push(events)
        any_lost = self._lost_tasks.answered(self._runs)
        if stopped:
            # A stop of a task that does not run here: its exec was lost, or the stop crossed the
            # outcome. The server's list tells which.
            await self._compare_views(stopped)
        if any_lost or stopped:
            # The server waits for these outcomes, so they are sent at once.
            self._state.pace.next = trio.current_time()

    async def _compare_views(self, stopped: frozenset[TaskKey]) -> None:
        """Compare the server's list of tasks with the runs here.

        `stopped` are tasks that the server wants stopped and that do not run here.
        """
        identity = self._state.identity
        view = await self._requests.server_view(identity.id, self._registration.registered_as.name)
        if (
            view is None
            or check_registration(view, identity.id, identity.time_launch)
            is not RegistrationStatus.OURS
        ):
            raise LinkLost(
                f"{self._requests.url}: the server's registration of this render differs",
                register_now=True,
            )
        self._lost_tasks.compared(view, self._runs, stopped)

    def _push(self, message: Events | Ack) -> None:
        self._inbox.append(message)
        self._changed.set()

    @asynccontextmanager
    async def _exclusive(self) -> AsyncIterator[None]:
        """Hold the lock of the link's exchanges. Any failure in the body ends the link."""
        # Also a cancellation: whether the server has the request is unknown then, and only the next
        # link asks it (test_a_cancelled_exchange_ends_the_link).
        async with self._lock:
            if self._lost:
                raise LinkLost(self._lost)
            try:
                yield
            except BaseException as error:
                known = isinstance(error, AfRenderError)
                self._lost = (
                    str(error) if known else f"{self._requests.url}: an exchange was interrupted"
                )
                self._changed.set()
                raise


def _long_parts(up: TaskUp) -> int:
    """Return the size of what can be long in an outcome."""
    texts = (up.log, up.listened, *up.parsed_files)
    return len(up.data) + sum(map(len, texts)) + sum(len(file.data) for file in up.files)

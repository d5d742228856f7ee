"""Starts and stops runs as the server says, and passes on what they tell.

The order of work within one message is the protocol's: tasks, closes, stops, outputs, listens.
One message may start and stop the same run; taken in another order the process would stay.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress

import trio

from trio_afrender.agent.loop_watchdog import LoopWatchdog
from trio_afrender.agent.outbox import Outbox
from trio_afrender.process.interfaces import ProcessTree
from trio_afrender.protocol.messages import (
    AskedOutput,
    Events,
    Reason,
    Registered,
    RunRef,
    TaskExec,
    TaskKey,
    TaskStatus,
    TaskUpdate,
)
from trio_afrender.task.events import FilesFound, Listened, LogLine, TaskEvent
from trio_afrender.task.run import run_task
from trio_afrender.task.status_rules import StopCause, StopKind, cap_retries
from trio_afrender.task.task_control import TaskControl
from trio_afrender.task.tools import TaskDependencies

__all__ = ("Dispatcher",)

logger = logging.getLogger(__name__)

EVENT_BUFFER_SIZE = 64
LOOP_NAME = "the dispatcher"
EVENT_TIMEOUT = 10.0
"""Seconds in which what is in the channel should have been passed on."""


class Dispatcher:
    """Owns the runs of one agent. `run` must be running for anything to happen."""

    def __init__(
        self, outbox: Outbox, *, wake: Callable[[], None], forget: Callable[[TaskExec], None]
    ) -> None:
        self.running: dict[str, TaskControl] = {}
        self.refusing = ""
        """Why no new task is taken; empty: they are."""
        self.pausing = ""
        """The same, for a while and through no fault of the tasks: theirs is not counted."""
        self._outbox = outbox
        self._wake = wake
        self._forget = forget
        self._tools: TaskDependencies | None = None
        self._give_backs: dict[TaskKey, int] = {}
        self._leftovers: set[int] = set()
        self._changed = trio.Event()
        self._send, self._receive = trio.open_memory_channel[TaskEvent | LoopWatchdog](
            EVENT_BUFFER_SIZE
        )
        self._nursery: trio.Nursery | None = None

    # -- life -----------------------------------------------------------------------------------

    async def run(
        self,
        tools: TaskDependencies,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Carry runs until cancelled. Cancelled, every process tree is ended first."""
        self._tools = tools
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            try:
                async for event in self._receive:
                    if isinstance(event, LoopWatchdog):
                        event.expect_within(LOOP_NAME)
                    else:
                        self._pass_on(event)
            except Exception:
                self.leave()  # a bug of ours: the renders are not to pay for it
                raise
            finally:
                self._nursery = None

    def probe(self, pulse: LoopWatchdog) -> None:
        """Have the loop that passes events on give a sign of life to `pulse`."""
        if not pulse.expects(LOOP_NAME):
            pulse.expect_within(LOOP_NAME, EVENT_TIMEOUT)
        with suppress(trio.WouldBlock):  # full: the next call tries again, the promise stands
            self._send.send_nowait(pulse)

    async def idle(self) -> None:
        """Wait until nothing runs."""
        while self.running:
            await self._changed.wait()

    async def delivered(self) -> None:
        """Wait until the server has closed every outcome."""
        while self._outbox.holds:
            await self._changed.wait()

    def adopt(self, child: ProcessTree, leftovers: tuple[int, ...]) -> None:
        """Keep waiting for a tree that survived KILL; until it is gone no task is taken."""
        if self._nursery is not None:
            self._leftovers.update(leftovers)
            self._nursery.start_soon(self._await_unkillable, child, leftovers)

    async def _await_unkillable(self, child: ProcessTree, leftovers: tuple[int, ...]) -> None:
        logger.error("pids %s survive KILL: no new tasks until they are gone", leftovers)
        while await child.kill_until_empty(60.0):
            pass
        await child.reap()
        self._leftovers.difference_update(leftovers)
        logger.info("pids %s are gone at last", leftovers)

    # -- what the server says -------------------------------------------------------------------

    def registered(self, answer: Registered) -> None:
        """Forget what the server took away while we were not in touch; never report it."""
        for run in answer.stop:
            if (handle := self.running.get(run)) is not None:
                handle.stop(StopCause(kind=StopKind.FORGET, text="taken away by the server"))
            elif self._outbox.has(run):
                logger.warning("run %s: the server no longer wants its outcome", run)
            self._outbox.closed(run)
            self._notify()

    def apply(self, events: Events) -> None:
        """Do what one message says, in the protocol's order."""
        for task in events.tasks:
            self._start(task)
        for ref in events.closes:
            self._close(ref)
        for ref in events.stops:
            self._stop(ref)
        for ref in events.suspends:
            self._suspend(ref, ref.reason or "asked by the server")
        for ref in events.resumes:
            self._suspend(ref, "")
        for ref in events.outputs:
            self._ask(ref)
        for ref in events.listens_add:
            self._listen(ref, on=True)
        for ref in events.listens_rem:
            self._listen(ref, on=False)

    def stop_all(self, kind: StopKind, text: str, grace: float, by: float) -> None:
        """Stop every run, all of it by trio's time `by`; a later call may shorten the grace."""
        for handle in self.running.values():
            handle.stop(StopCause(kind=kind, text=text), grace, by)

    def _start(self, task: TaskExec) -> None:
        if task.run in self.running or self._outbox.has(task.run):
            return  # the server repeats what it has not heard of yet
        older = self._older_run(task.key)
        if refusal := self._refusal():
            self._give_back(task, refusal)
            return
        if self.pausing:
            self._finish(RunRef.of(task), TaskStatus.GiveBack, self.pausing, task)
            return
        handle = TaskControl(
            task,
            predecessor=older,
            give_backs=self._give_backs.get(task.key, 0),
            listening=bool(task.flags & 1),
        )
        self._outbox.put_accepted(task)
        self._launch(handle)

    def continue_numbering(self, tasks: Iterable[TaskExec]) -> None:
        """Take up runs that an earlier agent started."""
        for task in tasks:
            self._launch(TaskControl(task, inherited=True))

    def leave(self) -> None:
        """Leave the trees of all runs to their supervisor: whoever is cancelled now ends nothing."""
        for handle in self.running.values():
            handle.leaving = True

    def _launch(self, handle: TaskControl) -> None:
        self.running[handle.task.run] = handle
        if self._nursery is not None and self._tools is not None:
            self._nursery.start_soon(self._carry, handle, self._tools)

    def _older_run(self, key: TaskKey) -> TaskControl | None:
        """The newest other run of that key: it is over for the server, so it ends unreported."""
        older = [handle for handle in self.running.values() if handle.task.key == key]
        for handle in older:
            text = "the server started the task anew"
            handle.stop(StopCause(kind=StopKind.CLOSED, text=text))
        return older[-1] if older else None

    def _refusal(self) -> str:
        if self._leftovers:
            pids = ", ".join(map(str, sorted(self._leftovers)))
            return f"the host waits for pids {pids} that survived KILL"
        return self.refusing

    def _close(self, ref: RunRef) -> None:
        if (handle := self.running.get(ref.run)) is not None:
            handle.stop(StopCause(kind=StopKind.CLOSED, text="closed by the server"))
        task = self._outbox.task_of(ref.run)
        self._outbox.closed(ref.run)
        if task is not None:
            self._forget(task)
        self._notify()

    def _stop(self, ref: RunRef) -> None:
        if (handle := self.running.get(ref.run)) is not None:
            text = f"stopped by the server: {ref.reason}" if ref.reason else "stopped by the server"
            handle.stop(StopCause(kind=StopKind.SERVER, text=text))
        elif not self._outbox.has(ref.run):
            # Its exec never reached us. Without an answer it would stay running there for ever.
            self._finish(ref, TaskStatus.FinishedKilled, "stopped before it reached this host")

    def _suspend(self, ref: RunRef, reason: str) -> None:
        if (handle := self.running.get(ref.run)) is not None:
            handle.suspension.change(reason)

    def _ask(self, ref: RunRef) -> None:
        handle = self.running.get(ref.run)
        if self._nursery is not None:
            self._nursery.start_soon(self._answer, ref, handle)

    async def _answer(self, ref: RunRef, handle: TaskControl | None) -> None:
        text = "This render does not run that task.\n"
        if handle is not None:
            text = "The task is being prepared.\n"
            if handle.output is not None:
                text = await handle.output()
        answer = AskedOutput(run=ref.run, **ref.key._asdict(), output=text)
        self._outbox.put_asked(answer)
        self._wake()

    def _listen(self, ref: RunRef, *, on: bool) -> None:
        if (handle := self.running.get(ref.run)) is not None:
            handle.listen(on=on)

    # -- what the runs say ----------------------------------------------------------------------

    async def _carry(self, handle: TaskControl, tools: TaskDependencies) -> None:
        try:
            await run_task(handle, tools, self._send.clone())
        finally:
            # The outcome is in the channel; `running` must hold the run until it has been passed
            # on, or a register in between would list it nowhere. Silent runs say nothing.
            if handle.cause is not None and handle.cause.kind.discards_outcome:
                self._note_silent(handle, tools)
                self._ended(handle)
                self._forget(handle.task)

    def _note_silent(self, handle: TaskControl, tools: TaskDependencies) -> None:
        """The server hears nothing of it; whoever asks on this host does."""
        now, text = tools.wall(), handle.cause.text if handle.cause else ""
        update = TaskUpdate(
            run=handle.task.run,
            **handle.task.key._asdict(),
            status=TaskStatus.FinishedKilled,
            percent=handle.percent,
            finished=now,
            why=(Reason(time=now, event="asked", text=f"{text}: ended without a report"),),
        )
        self._outbox.ended(update, handle.task)

    def _pass_on(self, event: TaskEvent) -> None:
        handle = self.running.get(event.run)
        if handle is None:
            return
        if handle.cause is not None and handle.cause.kind.discards_outcome:
            if isinstance(event, TaskUpdate) and event.status.terminal:
                # It had reported already when the server took it away.
                self._ended(handle)
                self._forget(handle.task)
            return
        match event:
            case TaskUpdate() if event.status.terminal:
                self._pass_outcome(event, handle)
            case TaskUpdate():
                self._outbox.put_progress(event)
            case LogLine():
                self._outbox.put_log(event.run, event.text)
            case Listened():
                self._outbox.put_listened(event.run, event.text)
            case FilesFound():
                self._outbox.put_files(event.run, event.files)
        self._wake()

    def _pass_outcome(self, update: TaskUpdate, handle: TaskControl) -> None:
        key = update.key
        if update.status.given_back:
            self._give_backs[key] = self._give_backs.get(key, 0) + 1
        else:
            self._give_backs.pop(key, None)
        self._outbox.put_outcome(update, handle.task)
        text = update.why[-1].text if update.why else ""
        logger.info("task %s (%s): %s; %s", key, handle.task.name, update.status.name, text)
        self._ended(handle)

    def _give_back(self, task: TaskExec, text: str) -> None:
        key = task.key
        status = cap_retries(TaskStatus.GiveBack, self._give_backs.get(key, 0))
        self._give_backs[key] = self._give_backs.get(key, 0) + 1
        self._finish(RunRef.of(task), status, text, task)

    def _finish(
        self, ref: RunRef, status: TaskStatus, text: str, task: TaskExec | None = None
    ) -> None:
        """Put the outcome of a run that never started here."""
        now = self._tools.wall() if self._tools is not None else 0.0
        update = TaskUpdate(
            run=ref.run,
            **ref.key._asdict(),
            status=status,
            finished=now,
            why=(Reason(time=now, event="refused", text=text),),
        )
        if task is not None:
            # Whoever comes after us has to say whose outcome this is.
            self._outbox.put_accepted(task)
        self._outbox.put_log(ref.run, f"{text}\n")
        self._outbox.put_outcome(update, task)
        self._wake()

    def _ended(self, handle: TaskControl) -> None:
        self.running.pop(handle.task.run, None)
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

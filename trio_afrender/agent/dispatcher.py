"""The dispatcher starts and stops runs on the server's messages and sends their events to the outbox.

The parts of one message are applied in the protocol's order: tasks, closes, stops, suspends,
resumes, outputs, listens. A message may start and stop the same run; in another order its process
would keep running.

Each run is one task in the dispatcher's nursery. Its events come through one channel, so that
`running` has a single writer.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain, repeat
from typing import TypeAlias

import trio

from trio_afrender.agent.agent_counters import AgentCounters
from trio_afrender.agent.loop_watchdog import LoopWatchdog
from trio_afrender.agent.outbox import Outbox
from trio_afrender.agent.run_events import AgentEvents, RunEventHub
from trio_afrender.async_helpers import RepeatedEvent
from trio_afrender.config import Config
from trio_afrender.errors import ProtocolError, is_exhausted
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
from trio_afrender.task.dependencies import TaskDependencies
from trio_afrender.task.events import FilesFound, Listened, LogLine, TaskEvent, UnkillableTree
from trio_afrender.task.run import run_task
from trio_afrender.task.run_state import RunState
from trio_afrender.task.status_rules import StopCause, StopKind
from trio_afrender.task.task_control import TaskControl
from trio_afrender.task.usage_totals import show_bytes
from trio_afrender.tasklog.io_threads import hold_descriptors, wait_out

__all__ = ("Dispatcher",)

logger: logging.Logger = logging.getLogger(__name__)

EVENT_BUFFER_SIZE = 64
LOOP_NAME = "the dispatcher"
PROBE_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds between two probes of a host that had nothing left for a task; the last one repeats."""
EVENT_TIMEOUT = 10.0
"""Seconds in which the events in the channel should have been applied."""
MAX_OUTCOMES_SIZE = 128 * 1024 * 1024
"""Bytes of outcomes without a close from which on no task is started: journal and memory hold them."""
MAX_GIVEN_BACK = 10_000
"""Tasks whose give-backs are counted."""

_TaskOfJob: TypeAlias = tuple[TaskKey, str, str, str, str]


def _identify(task: TaskExec) -> _TaskOfJob:
    """Return what tells a task from that of a later job, which may get the number of a deleted one."""
    return task.key, task.user_name, task.job_name, task.block_name, task.name


class Dispatcher:
    """Owns the runs of one agent. Runs start only while `run` runs.

    `wake` is called when the outbox has something new, `forget` when the server has closed a run
    that has ended.
    """

    def __init__(
        self,
        config: Config,
        dependencies: TaskDependencies,
        outbox: Outbox,
        *,
        wake: Callable[[], None],
        forget: Callable[[TaskExec], None],
        announce: Callable[[], None],
        counters: AgentCounters | None = None,
    ) -> None:
        self.running: dict[str, RunState] = {}
        """The runs by run id, each from its start until its outcome is in the outbox."""
        self.refusing = ""
        """Why new tasks are given back; empty if they are started."""
        self.unavailable: dict[str, str] = {}
        """Why this host can take no task now, by kind of cause; set by `set_unavailable`."""
        self._config = config
        self._dependencies = dependencies
        self._outbox = outbox
        self._wake = wake
        self._forget = forget
        self._announce = announce
        self._give_backs: dict[_TaskOfJob, int] = {}
        """How often in a row this host has given a task back; the oldest first."""
        self._unkillable: set[int] = set()
        """Pids that survived KILL."""
        self._changed = RepeatedEvent()
        """Set when a run ends and when the server closes one."""
        self._send, self._receive = trio.open_memory_channel[TaskEvent | LoopWatchdog](
            EVENT_BUFFER_SIZE
        )
        self._nursery: trio.Nursery | None = None
        self._counters = counters or AgentCounters(trio.current_time)
        self._events = RunEventHub(partial(self.set_unavailable, "events"))

    def open_events(self) -> AgentEvents:
        """Return a stream of the events of all runs, those that run now included."""
        return self._events.open(
            (state.task, state.update() if state.started_at is not None else None)
            for state in self.running.values()
        )

    def check_event_readers(self) -> None:
        """Take tasks again if the reader that was behind is gone."""
        self._events.check_backlog()

    def end_events(self) -> None:
        """End all streams of events, because the agent has ended."""
        self._events.close()

    # -- running --------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run tasks until cancelled. A cancellation ends every process tree before it returns."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            try:
                async for event in self._receive:
                    match event:
                        case LoopWatchdog():
                            event.expect_within(LOOP_NAME)
                        case UnkillableTree():
                            self._start_soon(self._await_unkillable, event.tree, event.pids)
                        case _:
                            self._apply_event(event)
            except Exception:
                # A bug of the agent must not end the renders: the supervisor holds them for the
                # next agent.
                self.leave()
                raise
            finally:
                self._nursery = None

    def _start_soon(self, run: Callable[..., Awaitable[None]], *args: object) -> None:
        """Run a task beside the loop; if it fails, leave the trees, as in `run`."""

        async def run_or_leave() -> None:
            # Here, and not around the nursery: that ends the runs before it raises
            # (test_a_bug_of_the_agent_leaves_the_trees_to_the_supervisor).
            try:
                await run(*args)
            except Exception:
                self.leave()
                raise

        if self._nursery is not None:
            self._nursery.start_soon(run_or_leave)

    def probe(self, watchdog: LoopWatchdog) -> None:
        """Make the event loop report to `watchdog`. Returns at once."""
        # The probe goes through the loop's own channel, so a quiet loop has to wake up only while
        # a watchdog checks it.
        if not watchdog.expects(LOOP_NAME):
            watchdog.expect_within(LOOP_NAME, EVENT_TIMEOUT)
        with suppress(trio.WouldBlock):  # The channel is full. The next call tries again.
            self._send.send_nowait(watchdog)

    async def idle(self) -> None:
        """Wait until nothing runs."""
        while self.running:
            await self._changed.wait()

    async def delivered(self) -> None:
        """Wait until the server has closed every outcome."""
        while self._outbox.holds:
            await self._changed.wait()

    async def _await_unkillable(self, tree: ProcessTree, pids: tuple[int, ...]) -> None:
        """Wait for a tree that survived KILL, and reap it; no task is started until it is empty."""

        async def wait() -> None:
            while await tree.kill_until_empty(60.0):
                pass
            await tree.reap()

        with self.held_by(pids):
            await wait_out("the wait for what survived KILL", wait)

    @contextmanager
    def held_by(self, pids: Collection[int]) -> Iterator[None]:
        """Start no task while the body runs, because these processes survived KILL."""
        # Such a process is in an uninterruptible system call, on a mount or in a driver that does
        # not answer. A new task of this host would very likely hang there as well.
        self._unkillable.update(pids)
        self._note_unkillable()
        try:
            yield
        finally:
            self._unkillable.difference_update(pids)
            self._note_unkillable()

    def _note_unkillable(self) -> None:
        pids = ", ".join(map(str, sorted(self._unkillable)))
        text = f"the host waits for pids {pids} that survived KILL" if pids else ""
        self.set_unavailable("unkillable", text)

    def set_unavailable(self, cause: str, reason: str) -> None:
        """State why this host can take no task now; with an empty reason the cause is over.

        The server gets the state NIMBY while there is a cause. Tasks that arrive nevertheless are
        given back, and that does not count against them: they have done nothing.
        """
        if reason == self.unavailable.get(cause, ""):
            return
        if reason:
            self.unavailable[cause] = reason
            logger.warning("no new tasks: %s", reason)
        else:
            logger.info("no longer true: %s", self.unavailable.pop(cause))
        self._announce()

    def _note_exhausted(self, reason: str) -> None:
        """Take no task until this host has what it had too little of."""
        begun = "resources" in self.unavailable
        if not begun:
            self.set_unavailable("resources", reason)
            self._start_soon(self._await_resources)

    async def _await_resources(self) -> None:
        for pause in chain(PROBE_PAUSES, repeat(PROBE_PAUSES[-1])):
            await trio.sleep(pause)
            try:
                await self._dependencies.probe()
            except Exception as error:
                if is_exhausted(error):
                    continue
                logger.exception("the probe of this host failed: tasks are taken again")
            break
        hold_descriptors()
        self.set_unavailable("resources", "")

    # -- messages of the server -----------------------------------------------------------------

    def registered(self, answer: Registered) -> None:
        """Kill and forget the runs that a register answer withdraws. Nothing of them is reported."""
        for run in answer.stop:
            if (state := self.running.get(run)) is not None:
                state.control.stop(StopCause(kind=StopKind.FORGET, text="taken away by the server"))
            elif self._outbox.has(run):
                logger.warning("run %s: the server no longer wants its outcome", run)
            self._drop(run)
        self._note_change()

    def apply(self, events: Events) -> None:
        """Apply one message in the protocol's order."""
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
            self._start_soon(self._send_output, ref, self.running.get(ref.run))
        for ref in events.listens_add:
            self._listen(ref, on=True)
        for ref in events.listens_rem:
            self._listen(ref, on=False)

    def stop_all(self, kind: StopKind, text: str, grace: float, by: float) -> None:
        """Stop every run by trio's time `by` at the latest. A later call can shorten the grace."""
        for state in self.running.values():
            state.control.stop(StopCause(kind=kind, text=text), grace, by)

    def _start(self, task: TaskExec) -> None:
        if task.run in self.running or self._outbox.has(task.run):
            return  # The server repeats an exec that it has no report of yet.
        # A new exec of a running task means that the server has given the older runs up. Their reports
        # would be counted for the new run, so they are stopped without one.
        older = [state for state in self.running.values() if state.task.key == task.key]
        for state in older:
            text = "the server started the task anew"
            state.control.stop(StopCause(kind=StopKind.CLOSED, text=text))
        try:
            # Also one that is refused: the next agent needs the task to list its outcome in its
            # register (test_an_outcome_of_a_refused_task_is_delivered_by_the_next_agent).
            self._outbox.put_accepted(task)
        except ProtocolError as error:
            # The rest of its message is applied all the same.
            text = f"the task cannot be recorded: {error}"
            self._end_unstarted(RunRef.of(task), TaskStatus.FailedToStart, text)
            return
        if reason := self.refusing or "; ".join(self.unavailable.values()):
            # Not counted: the server may hand the same task to this host again, and the task has
            # done nothing (test_a_host_that_waits_fails_no_task).
            self._end_unstarted(RunRef.of(task), TaskStatus.GiveBack, reason, task)
            return
        state = RunState(
            task,
            self._config,
            self._dependencies,
            self._send.clone(),
            TaskControl(listening=bool(task.flags & 1)),
            predecessors=tuple(older),
            give_backs=self._give_backs.get(_identify(task), 0),
        )
        self._counters.note_accepted(task.run)
        self._launch(state)

    def continue_runs(self, tasks: Iterable[TaskExec]) -> None:
        """Take over runs that an earlier agent started."""
        for task in tasks:
            send = self._send.clone()
            self._launch(RunState(task, self._config, self._dependencies, send, inherited=True))

    def leave(self) -> None:
        """Leave the trees of all runs to their supervisor: a cancellation ends no process then."""
        for state in self.running.values():
            state.control.leave()

    def _launch(self, state: RunState) -> None:
        self.running[state.task.run] = state
        self._events.started(state.task, continued=state.inherited)
        if self._nursery is not None:
            self._nursery.start_soon(self._run_one, state)

    def _close(self, ref: RunRef) -> None:
        # A close of a running run means that the server does not run the task here.
        if (state := self.running.get(ref.run)) is not None:
            state.control.stop(StopCause(kind=StopKind.CLOSED, text="closed by the server"))
        self._drop(ref.run)

    def _drop(self, run: str) -> None:
        """Drop what the outbox has of a run, and have its folder removed if it has ended."""
        task = self._outbox.task_of(run)
        self._outbox.closed(run)
        if task is not None:
            self._forget(task)
        self._note_change()

    def _stop(self, ref: RunRef) -> None:
        if (state := self.running.get(ref.run)) is not None:
            text = f"stopped by the server: {ref.reason}" if ref.reason else "stopped by the server"
            state.control.stop(StopCause(kind=StopKind.SERVER, text=text))
        elif not self._outbox.has(ref.run):
            # Its exec was lost on the way. Without an outcome the server would wait for ever.
            self._end_unstarted(
                ref, TaskStatus.FinishedKilled, "stopped before it reached this host"
            )

    def _suspend(self, ref: RunRef, reason: str) -> None:
        if (state := self.running.get(ref.run)) is not None:
            state.control.suspension.change(reason)

    async def _send_output(self, ref: RunRef, state: RunState | None) -> None:
        # An unknown run gets an answer as well, because a client of the server waits for it.
        text = "This render does not run that task.\n"
        if state is not None:
            try:
                text = await state.read_output()
            except Exception as error:
                # A disk that fails, or a task that took the rights from its own log, costs the
                # answer alone.
                if not (is_exhausted(error) or isinstance(error, OSError)):
                    raise
                text = f"The output cannot be read at the moment: {error}\n"
        answer = AskedOutput(run=ref.run, **ref.key._asdict(), output=text)
        self._outbox.put_asked(answer)
        self._wake()

    def _listen(self, ref: RunRef, *, on: bool) -> None:
        if (state := self.running.get(ref.run)) is not None:
            state.control.listen(on=on)

    # -- events of the runs ---------------------------------------------------------------------

    async def _run_one(self, state: RunState) -> None:
        try:
            await run_task(state)
        except Exception:
            self.leave()  # as `_start_soon`, without a frame more for each run
            raise
        finally:
            # Normally `_apply_event` removes the run, when it has moved the outcome from the
            # channel to the outbox. A register in between would otherwise list the run nowhere. A
            # run whose outcome is discarded has no such event.
            cause, task = state.control.cause, state.task
            if cause is not None and state.control.discards_outcome:
                # This host's history has the end of the run, although the server gets no report.
                now, text = self._dependencies.wall(), f"{cause.text}: ended without a report"
                update = TaskUpdate(
                    run=task.run,
                    **task.key._asdict(),
                    status=TaskStatus.FinishedKilled,
                    percent=state.parsed.percent,
                    finished=now,
                    why=(Reason(time=now, event="asked", text=text),),
                )
                self._outbox.ended(update, task)
                self._events.ended(update, task, reported=False)
                self._remove(task)
                self._forget(task)

    def _apply_event(self, event: TaskUpdate | LogLine | Listened | FilesFound) -> None:
        state = self.running.get(event.run)
        if state is None:
            return
        if state.control.discards_outcome:
            if isinstance(event, TaskUpdate) and event.status.terminal:
                # The outcome was in the channel already when the server gave the task up.
                self._events.ended(event, state.task, reported=False)
                self._remove(state.task)
                self._forget(state.task)
            return
        match event:
            case TaskUpdate() if event.status.terminal:
                key, task = event.key, state.task
                if state.exhausted:
                    self._note_exhausted(state.exhausted)
                else:
                    before = self._give_backs.pop(_identify(task), 0)
                    if event.status.given_back:
                        self._note_give_back(task, before + 1)
                self._outbox.put_outcome(event, task)
                self._events.ended(event, task, reported=True)
                # The cause, which comes first, or how it ended.
                steps = event.why
                text = steps[0 if steps[0].event == "cause" else -1].text if steps else ""
                logger.info("task %s (%s): %s; %s", key, task.name, event.status.name, text)
                self._remove(task)
            case TaskUpdate():
                if event.started is not None:
                    self._counters.note_started(event.run)
                self._outbox.put_progress(event)
                self._events.progressed(event)
            case LogLine():
                self._outbox.put_log(event.run, event.text)
                self._events.logged(state.task, event.text)
            case Listened():
                self._outbox.put_listened(event.run, event.text)
            case FilesFound():
                self._outbox.put_files(event.run, event.files)
        self._wake()

    def _note_give_back(self, task: TaskExec, count: int) -> None:
        self._give_backs[_identify(task)] = count
        # Those of tasks that another host has done would stay for ever.
        if len(self._give_backs) > MAX_GIVEN_BACK:
            del self._give_backs[next(iter(self._give_backs))]

    def _end_unstarted(
        self, ref: RunRef, status: TaskStatus, text: str, task: TaskExec | None = None
    ) -> None:
        """Put the outcome of a run that is not started; `task` is None if it is in no journal."""
        now = self._dependencies.wall()
        update = TaskUpdate(
            run=ref.run,
            **ref.key._asdict(),
            status=status,
            finished=now,
            why=(Reason(time=now, event="refused", text=text),),
        )
        self._outbox.put_log(ref.run, f"{text}\n")
        self._outbox.put_outcome(update, task)
        self._wake()

    def _remove(self, task: TaskExec) -> None:
        self.running.pop(task.run, None)
        self._note_change()

    def _note_change(self) -> None:
        """Wake what waits for runs or outcomes; take no task while too many outcomes are held."""
        self._changed.set()
        size = self._outbox.outcomes_size
        if size > MAX_OUTCOMES_SIZE:
            limit = show_bytes(MAX_OUTCOMES_SIZE)
            text = f"the server has not closed the outcomes of ended tasks, which are over {limit}"
            self.set_unavailable("outcomes", text)
        elif size <= MAX_OUTCOMES_SIZE // 2:
            self.set_unavailable("outcomes", "")

"""The embedded farm: one facade over the farm's state, its store, its clock and its sessions."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import trio

from trio_afrender.async_helpers import RepeatedEvent, open_bare_nursery
from trio_afrender.errors import StoreError
from trio_afrender.farm import render_sleep, renders, scheduler, transitions, user_requests
from trio_afrender.farm.output_listeners import Answers, Listeners
from trio_afrender.farm.record_batches import RecordBatches, open_records
from trio_afrender.farm.render_session import RenderSession, run_session
from trio_afrender.farm.settings import FarmSettings
from trio_afrender.farm.snapshots import view_job, view_render
from trio_afrender.farm.state import FarmState, WakePackets
from trio_afrender.farm.store import DiskFarmStore, FarmStore, MemoryFarmStore
from trio_afrender.farm.text_writer import TextWriter
from trio_afrender.farm.wake_on_lan import send_magic_packets
from trio_afrender.farm.why_waiting import WaitAnswer, explain_job, explain_task, why_waiting
from trio_afrender.jobs.job_spec import JobSpec
from trio_afrender.jobs.report import make_report
from trio_afrender.jobs.views import JobView, RenderView
from trio_afrender.protocol.messages import Reason, TaskKey
from trio_afrender.tasklog.io_threads import call_in_thread
from trio_afrender.transport.interfaces import ServerLink

__all__ = ("Farm", "FarmSettings", "open_farm")

_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_farm(
    folder: Path | None,
    *,
    settings: FarmSettings | None = None,
    wall: Callable[[], float] = time.time,
    send_packets: Callable[[Sequence[str], str, int], None] = send_magic_packets,
    records: bool = True,
    move_damaged: bool = False,
) -> AsyncIterator[Farm]:
    """Open a farm that stores its texts below `folder`, made with mode 0700; None: in memory.

    With `records` the folder has those of all jobs, users and renders as well: a farm that is opened
    in it again, after whatever end of this one, continues with them. Damaged records are an error;
    with `move_damaged` they get another name, and the farm begins without them.

    A folder serves one farm at a time. Raises `StoreError`. Leaving the context ends all sessions
    and writes what is queued to disk. An exception of the body is raised as it is, in no group.
    """
    store: FarmStore = MemoryFarmStore() if folder is None else DiskFarmStore(folder)
    async with AsyncExitStack() as stack:
        state, batches = None, None
        make_state = partial(FarmState, settings=settings or FarmSettings(), wall=wall, texts=store)
        if folder is None:
            # No thread may be waited for here: the mock clock of a test would jump.
            make_state = partial(make_state, next_job=store.open())
        else:
            try:
                make_state = partial(make_state, next_job=await call_in_thread(store.open))
                if records:
                    opening = open_records(folder, make_state, move_damaged=move_damaged)
                    state, batches = await stack.enter_async_context(opening)
            except OSError as error:  # the host has no thread left
                raise StoreError.of(folder, error) from error
        farm = Farm(store, state or make_state(), batches, send_packets)
        nursery = await stack.enter_async_context(open_bare_nursery())
        nursery.start_soon(farm._writer.run)  # noqa: SLF001 - opening is a part of the farm
        nursery.start_soon(farm._run_clock)  # noqa: SLF001 - the same
        try:
            yield farm
        finally:
            await farm._close()  # noqa: SLF001 - the same


class Farm:
    """One farm, made by `open_farm`. Methods that are not `async` take effect at once.

    Unknown jobs, tasks and renders raise KeyError.
    """

    def __init__(
        self,
        store: FarmStore,
        state: FarmState,
        batches: RecordBatches | None,
        send_packets: Callable[[Sequence[str], str, int], None],
    ) -> None:
        self._state = state
        self._send_packets = send_packets
        self._writer = TextWriter(store, self._store_failed, batches)
        self._sessions: dict[int, RenderSession] = {}
        self._by_name: dict[str, RenderSession] = {}
        self._next_session = 1
        self._closed = False
        self._listeners = Listeners()
        self._answers = Answers()
        self._change_count = 0
        self._change = RepeatedEvent()
        self._next_tick = math.inf
        self._tick_earlier = trio.Event()

    @property
    def settings(self) -> FarmSettings:
        return self._state.settings

    @property
    def state(self) -> FarmState:
        """The records of the farm. Who changes them calls `dispatch` before anything else runs."""
        return self._state

    # Jobs

    def submit(self, spec: JobSpec) -> int:
        """Add a job and return its id. Raises `JobError`."""
        job = transitions.submit(self._state, spec, trio.current_time())
        self.dispatch()
        return job.id

    async def wait(self, job: int) -> JobView:
        """Wait until a job is over and its texts are stored."""
        seen = self._change_count
        while not self._state.find_job(job).over:
            seen = await self.changed(seen)
        await self._writer.settled()
        return self.view(job)

    def view(self, job: int) -> JobView:
        return view_job(self._state.find_job(job), self._state.texts)

    @property
    def jobs(self) -> tuple[int, ...]:
        """The ids of all jobs, oldest first."""
        return tuple(self._state.jobs)

    def why_waiting(self, job: int) -> tuple[str, ...]:
        """Explain why ready tasks are not assigned, a sentence each: no render, a mask, ..."""
        return why_waiting(self._state, self._state.find_job(job), trio.current_time())

    def explain_task(self, key: TaskKey) -> WaitAnswer:
        """Explain what a task waits for, render by render, with figures."""
        return explain_task(self._state, self._state.find_task(key), trio.current_time())

    def explain_job(self, job: int) -> tuple[WaitAnswer, ...]:
        """The same for all waiting tasks of a job; equal tasks of a block share an answer."""
        return explain_job(self._state, self._state.find_job(job), trio.current_time())

    def report(self, job: int) -> dict[str, object]:
        """Make the report of a job, texts included.

        Blocking: reads the texts of all tasks from the store. With many tasks, run
        `make_report(farm.view(job))` in a thread instead.
        """
        return make_report(self.view(job))

    def stop_job(self, job: int, reason: str = "stopped") -> None:
        """Stop the running tasks of a job and start no more of them."""
        self._end_job(job, reason, stop=True)

    def drain_job(self, job: int, reason: str = "drained") -> None:
        """Let the running tasks of a job finish and start no more of them."""
        self._end_job(job, reason, stop=False)

    def stop_task(self, key: TaskKey, reason: str = "stopped") -> None:
        """Stop a task for good: it ends as killed, unless it is done before."""
        task = self._state.find_task(key)
        user_requests.stop_task(self._state, task, reason, trio.current_time())
        self.dispatch()

    def suspend_task(self, key: TaskKey, reason: str = "suspended") -> bool:
        """Suspend all processes of a running task; False if it is not running.

        It keeps its render, and the time limits of the farm continue to count.
        """
        done = user_requests.suspend_task(self._state, self._state.find_task(key), reason)
        self.dispatch()
        return done

    def resume_task(self, key: TaskKey) -> bool:
        """Resume a suspended task; False if it is not running."""
        return self.suspend_task(key, "")

    async def forget_job(self, job: int) -> None:
        """Drop a job that is over, with all its texts, so that a farm does not grow for months.

        Views made before stay valid, but their texts are gone. Raises `JobError` for a job that
        is not over.
        """
        transitions.forget(self._state, self._state.find_job(job), trio.current_time())
        self.dispatch()
        await self._writer.settled()

    # Output

    @asynccontextmanager
    async def listen(self, key: TaskKey) -> AsyncIterator[trio.MemoryReceiveChannel[str]]:
        """Receive new output of a task as it comes, of later attempts too.

        The channel ends when the task is over. For a reader that is too slow, pieces are left out;
        a mark in the text states how many characters.
        """
        task = self._state.find_task(key)
        listener, receive = self._listeners.add(key)
        try:
            if user_requests.listen(self._state, task):
                try:
                    self.dispatch()
                    yield receive
                finally:
                    user_requests.unlisten(self._state, task)
                    self.dispatch()
            else:
                # The task is over, so nothing will end the channel later.
                listener.send.close()
                yield receive
        finally:
            self._listeners.remove(key, listener)
            receive.close()

    async def ask_output(self, key: TaskKey) -> str:
        """Fetch a running task's output so far; of another task the stored output, or ''."""
        task = self._state.find_task(key)
        run = user_requests.ask_output(self._state, task)
        if run is not None:
            self.dispatch()
            answer = await self._answers.wait(run)
            if answer is not None:
                return answer
            # The run has ended without an answer: what its outcome contained is stored.
        return await self.read_output(key, task.attempts)

    async def read_output(self, key: TaskKey, attempt: int) -> str:
        """The stored output of an attempt that has ended; '' for any other one."""
        await self._writer.settled()
        return await self._writer.read_output(key, attempt)

    async def read_log(self, key: TaskKey) -> str:
        """The log of a task, with the lines that are not stored yet. Raises KeyError."""
        task = self._state.find_task(key)
        await self._writer.settled()
        return await self._writer.read_log(key) + task.unsaved

    # Renders

    @property
    def renders(self) -> tuple[RenderView, ...]:
        return tuple(map(view_render, self._state.renders.values()))

    def instruct(self, render: str, instruction: str, command: str = "") -> None:
        """Send an online render an instruction: ``exit``, ``launch`` with a command, ..."""
        user_requests.instruct(self._state, render, instruction, command)
        self.dispatch()

    def change_settings(self, settings: FarmSettings) -> None:
        """Use other settings from now on, and send renders those that concern them."""
        user_requests.change_settings(self._state, settings)
        self.dispatch()

    async def serve_link(self, link: ServerLink) -> None:
        """Serve one render until its link ends, then close the link.

        Errors of the link are logged, not raised.
        """
        await run_session(self, self._state, link)

    # Watching

    async def changed(self, seen: int) -> int:
        """Wait until something has changed since `seen` (0 at first); return the next `seen`.

        Several changes at once count as one. Calling `view` afterwards costs little.
        """
        while self._change_count == seen:
            await self._change.wait()
        await trio.lowlevel.checkpoint()
        return self._change_count

    # For the sessions: `SessionOwner`

    def add_session(self, link: ServerLink) -> RenderSession:
        """Make the session of a link, with a number that was never used before."""
        session = RenderSession(id=self._next_session, link=link)
        self._next_session += 1
        self._sessions[session.id] = session
        # The listener may accept connections until its own nursery ends.
        if self._closed:
            session.scope.cancel()
        return session

    def name_session(self, session: RenderSession, name: str) -> None:
        """Note the render that a session has registered."""
        session.name = name
        self._by_name[name] = session

    def remove_session(self, session: RenderSession) -> None:
        """Forget a session that has ended; its render may reconnect with another one."""
        del self._sessions[session.id]
        if session.name is not None:
            # The render may have reconnected already, before its old link was found to be dead.
            if self._by_name.get(session.name) is session:
                del self._by_name[session.name]
            render = self._state.renders.get(session.name)
            # A render that has left may have been deleted before the end of its session.
            if render is not None:
                renders.unlink(self._state, render, session.id, trio.current_time())
            self.dispatch()

    async def dispatch_and_store(self) -> None:
        """`dispatch`, then wait until the texts in it are stored."""
        self.dispatch()
        await self._writer.settled()

    def dispatch(self) -> None:
        """Assign tasks, then send and store what the state has collected.

        Called after each function that may have changed the state.
        """
        scheduler.assign(self._state, trio.current_time())
        outgoing = self._state.take_outgoing()
        self._writer.put(outgoing.writes, records=bool(self._state.unstored))
        # Output and answers before ends: an update may contain the last output and the outcome,
        # and a listener gets both in this order.
        for key, text in outgoing.listened:
            self._listeners.publish(key, text)
        for run, output in outgoing.answers:
            self._answers.give(run, output)
        for run in outgoing.ended_runs:
            self._answers.give(run, None)
        for key in outgoing.ended_tasks:
            self._listeners.end(key)
        for packets in outgoing.packets:
            self._wake_host(packets)
        for number in outgoing.drop_sessions:
            if number in self._sessions:
                self._sessions[number].scope.cancel()
        for name in outgoing.wake:
            if name in self._by_name:
                self._by_name[name].wake.set()
        if outgoing.changed:
            self._change_count += 1
            self._change.set()
        # `_run_clock` waits for a time that is too late now.
        if self._state.due < self._next_tick:
            self._tick_earlier.set()

    def _end_job(self, job: int, reason: str, *, stop: bool) -> None:
        found = self._state.find_job(job)
        user_requests.end_job(self._state, found, reason, trio.current_time(), stop=stop)
        self.dispatch()

    def _store_failed(self, key: TaskKey, problem: str) -> None:
        _log.error("task %s: text not stored: %s", key, problem)
        # To the reasons only: the log may be what cannot be stored.
        step = Reason(time=self._state.wall(), event="store", text=f"text not stored: {problem}")
        with suppress(KeyError):  # its job may have been deleted meanwhile
            self._state.add_why(self._state.find_task(key), (step,))
        self.dispatch()

    def _wake_host(self, packets: WakePackets) -> None:
        settings = self.settings
        try:
            self._send_packets(packets.macs, settings.wake_address, settings.wake_port)
        except (OSError, ValueError) as error:
            _log.warning("cannot wake render %r: %s", packets.render, error)
            # It may have been deleted since.
            if (render := self._state.renders.get(packets.render)) is not None:
                render_sleep.wake_failed(self._state, render, f"packets cannot be sent: {error}")

    async def _run_clock(self) -> None:
        while True:
            self._next_tick = self._state.due
            with trio.move_on_at(self._next_tick):
                await self._tick_earlier.wait()
            self._tick_earlier = trio.Event()
            renders.tick(self._state, trio.current_time())
            self.dispatch()

    async def _close(self) -> None:
        self._closed = True
        for session in self._sessions.values():
            session.scope.cancel()
        self._writer.put([], records=bool(self._state.unstored))
        # Also when the farm is cancelled: texts of acknowledged updates exist nowhere else.
        with trio.CancelScope(shield=True), trio.move_on_after(self.settings.flush):
            await self._writer.settled()
        self._writer.stop()

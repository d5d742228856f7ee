"""The embedded farm: one facade over the farm's state, its store, its clock and its sessions."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from trio_afrender.farm import renders, scheduler, transitions, user_requests
from trio_afrender.farm.output_listeners import Answers, Listeners
from trio_afrender.farm.render_session import RenderSession, run_session
from trio_afrender.farm.settings import FarmSettings
from trio_afrender.farm.snapshots import view_job, view_render
from trio_afrender.farm.state import FarmState
from trio_afrender.farm.store import DiskFarmStore, FarmStore, MemoryFarmStore
from trio_afrender.farm.text_writer import TextWriter
from trio_afrender.jobs.job_spec import JobSpec
from trio_afrender.jobs.report import make_report
from trio_afrender.jobs.views import JobView, RenderView
from trio_afrender.protocol.messages import Reason, TaskKey
from trio_afrender.transport.interfaces import ServerLink

__all__ = ("Farm", "FarmSettings", "open_farm")

_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_farm(
    folder: Path | None,
    *,
    settings: FarmSettings | None = None,
    wall: Callable[[], float] = time.time,
) -> AsyncIterator[Farm]:
    """Open a farm that keeps its texts below `folder`, made with mode 0700; None: in memory.

    A folder serves one farm at a time. Raises `StoreError`. Leaving the context ends all
    sessions and brings what is queued to disk; what the body raises comes out bare.
    """
    store: FarmStore = MemoryFarmStore() if folder is None else DiskFarmStore(folder)
    # A folder is made at once or not at all; in memory nothing may wait for a thread.
    first = store.open() if store.in_memory else await trio.to_thread.run_sync(store.open)
    farm = Farm(store, settings or FarmSettings(), wall, first)
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(farm._writer.run)  # noqa: SLF001 - opening is a part of the farm
        nursery.start_soon(farm._run_clock)  # noqa: SLF001 - the same
        try:
            yield farm
        except Exception as error:  # noqa: BLE001 - raised again below, outside of the nursery
            failure = error
        finally:
            await farm._close()  # noqa: SLF001 - the same
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


class Farm:
    """One farm. Made by `open_farm`. Methods that are not `async` act at once.

    Unknown jobs, tasks and renders raise KeyError.
    """

    def __init__(
        self, store: FarmStore, settings: FarmSettings, wall: Callable[[], float], first_job: int
    ) -> None:
        self._state = FarmState(settings=settings, wall=wall, texts=store, next_job=first_job)
        self._writer = TextWriter(store, self._store_failed)
        self._sessions: dict[int, RenderSession] = {}
        self._by_name: dict[str, RenderSession] = {}
        self._next_session = 1
        self._closed = False
        self._listeners = Listeners()
        self._answers = Answers()
        self._count = 0
        self._change = trio.Event()
        self._planned = math.inf
        self._replan = trio.Event()

    @property
    def settings(self) -> FarmSettings:
        return self._state.settings

    # Jobs

    def submit(self, spec: JobSpec) -> int:
        """Take a job in and return its id. Raises `JobError`."""
        job = transitions.submit(self._state, spec, trio.current_time())
        self.dispatch()
        return job.id

    async def wait(self, job: int) -> JobView:
        """Wait until a job is over and its texts are stored."""
        seen = self._count
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
        """Sentences on why ready tasks are not handed out: no render, no capacity, a mask ..."""
        return scheduler.why_waiting(self._state, self._state.find_job(job), trio.current_time())

    def report(self, job: int) -> dict[str, object]:
        """The outcome of a job, texts included. Reads the texts of all tasks from the store:
        with many tasks rather give `report.make_report(farm.view(job))` to a thread."""
        return make_report(self.view(job))

    def stop_job(self, job: int, reason: str = "stopped") -> None:
        """Stop what runs of a job, and start nothing more of it."""
        self._end_job(job, reason, stop=True)

    def drain_job(self, job: int, reason: str = "drained") -> None:
        """Let what runs of a job come to its end, and start nothing more of it."""
        self._end_job(job, reason, stop=False)

    def _end_job(self, job: int, reason: str, *, stop: bool) -> None:
        found = self._state.find_job(job)
        user_requests.end_job(self._state, found, reason, trio.current_time(), stop=stop)
        self.dispatch()

    def stop_task(self, key: TaskKey, reason: str = "stopped") -> None:
        """Stop a task for good: it ends as killed, unless it is done before that."""
        task = self._state.find_task(key)
        user_requests.stop_task(self._state, task, reason, trio.current_time())
        self.dispatch()

    def suspend_task(self, key: TaskKey, reason: str = "suspended") -> bool:
        """Let a running task stand still, all its processes; False if it does not run. It keeps
        its render; the farm's own limits go on counting."""
        done = user_requests.suspend_task(self._state, self._state.find_task(key), reason)
        self.dispatch()
        return done

    def resume_task(self, key: TaskKey) -> bool:
        """Let it go on; False if it does not run."""
        return self.suspend_task(key, "")

    async def forget_job(self, job: int) -> None:
        """Drop a job that is over, with all its texts: a farm that runs for months is not to grow.

        Views taken before go on, but their texts are gone. Raises `JobError` for one that runs.
        """
        transitions.forget(self._state, self._state.find_job(job))
        self.dispatch()
        await self._writer.settled()

    # Output

    @asynccontextmanager
    async def listen(self, key: TaskKey) -> AsyncIterator[trio.MemoryReceiveChannel[str]]:
        """New output of a task as it comes, of later attempts too; ends when the task is over.

        Who reads slowly misses some, and finds a mark that says how much.
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
                listener.send.close()
                yield receive
        finally:
            self._listeners.remove(key, listener)
            receive.close()

    async def ask_output(self, key: TaskKey) -> str:
        """A running task's output so far; of one that does not run what is stored, or ''."""
        task = self._state.find_task(key)
        run = user_requests.ask_output(self._state, task)
        if run is not None:
            self.dispatch()
            answer = await self._answers.wait(run)
            if answer is not None:
                return answer
        await self._writer.settled()
        return await self._writer.read_output(key, task.attempts)

    # Renders

    @property
    def renders(self) -> tuple[RenderView, ...]:
        return tuple(map(view_render, self._state.renders.values()))

    def instruct(self, render: str, instruction: str, command: str = "") -> None:
        """Have an online render do something: ``exit``, ``launch`` with a command, ..."""
        user_requests.instruct(self._state, render, instruction, command)
        self.dispatch()

    def change_settings(self, settings: FarmSettings) -> None:
        """Use other settings from now on; renders are told of theirs."""
        user_requests.change_settings(self._state, settings)
        self.dispatch()

    async def serve_link(self, link: ServerLink) -> None:
        """Serve one render until its link ends; closes the link. Raises nothing of the link's."""
        await run_session(self, self._state, link)

    # For people who watch

    async def changed(self, seen: int) -> int:
        """Wait until something has changed since `seen` (0 at first); return what to give next.

        Many changes at once count as one. Reading `view` afterwards costs little.
        """
        while self._count == seen:
            await self._change.wait()
        await trio.lowlevel.checkpoint()
        return self._count

    # What the sessions need

    def add_session(self, link: ServerLink) -> RenderSession:
        """Give a link its session number."""
        session = RenderSession(id=self._next_session, link=link)
        self._next_session += 1
        self._sessions[session.id] = session
        if self._closed:
            session.scope.cancel()
        return session

    def name_session(self, session: RenderSession, name: str) -> None:
        """Note which render a session speaks for."""
        session.name = name
        self._by_name[name] = session

    def remove_session(self, session: RenderSession) -> None:
        """Forget a session; its render may come back with another one."""
        del self._sessions[session.id]
        if session.name is not None:
            if self._by_name.get(session.name) is session:
                del self._by_name[session.name]
            render = self._state.renders[session.name]
            renders.unlink(self._state, render, session.id, trio.current_time())
            self.dispatch()

    async def dispatch_and_store(self) -> None:
        """`dispatch`, then wait until the texts in it are stored."""
        self.dispatch()
        await self._writer.settled()

    def dispatch(self) -> None:
        """Hand out tasks, and send out what the state has collected.

        Called after each call that may change the state.
        """
        scheduler.assign(self._state, trio.current_time())
        outgoing = self._state.take_outgoing()
        self._writer.put(outgoing.writes)
        for key, text in outgoing.listened:
            self._listeners.hear(key, text)
        for run, output in outgoing.answers:
            self._answers.give(run, output)
        for run in outgoing.ended_runs:
            self._answers.give(run, None)
        for key in outgoing.ended_tasks:
            self._listeners.end(key)
        for number in outgoing.drop_sessions:
            if number in self._sessions:
                self._sessions[number].scope.cancel()
        for name in outgoing.wake:
            if name in self._by_name:
                self._by_name[name].wake.set()
        if outgoing.changed:
            self._count += 1
            self._change.set()
            self._change = trio.Event()
        if self._state.due < self._planned:
            self._replan.set()

    def _store_failed(self, key: TaskKey, problem: str) -> None:
        _log.error("task %s: text not stored: %s", key, problem)
        # Not into the log: that may be what cannot be stored.
        step = Reason(time=self._state.wall(), event="store", text=f"text not stored: {problem}")
        self._state.add_why(self._state.find_task(key), (step,))
        self.dispatch()

    async def _run_clock(self) -> None:
        while True:
            self._planned = self._state.due
            with trio.move_on_at(self._planned):
                await self._replan.wait()
            self._replan = trio.Event()
            renders.tick(self._state, trio.current_time())
            self.dispatch()

    async def _close(self) -> None:
        self._closed = True
        for session in self._sessions.values():
            session.scope.cancel()
        with trio.CancelScope(shield=True), trio.move_on_after(self.settings.flush):
            await self._writer.settled()

"""What a farm is and does, for all viewers at once: one registration, one poll a second.

Events name what has changed, and only that is asked for. Nothing here depends on how many viewers
there are. A server that is gone is reported, and asked again until it is back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import attrs
import trio

from trio_afrender.afserver.output_follower import is_error_text
from trio_afrender.afserver.remote_farm import EventMonitor, RemoteFarm
from trio_afrender.afserver.remote_nodes import (
    JobNode,
    PoolNode,
    RenderNode,
    TaskNode,
    integer_of,
    objects_of,
    text_of,
)
from trio_afrender.async_helpers import RepeatedEvent
from trio_afrender.errors import JobGone, LinkLost, LinkRefused, ProtocolError
from trio_afrender.web.job_outlook import JobPace
from trio_afrender.web.job_tasks import JobTasks, TaskKeyTuple
from trio_afrender.web.load_history import LoadHistory, PercentCurves
from trio_afrender.web.node_rows import (
    LOAD_FIELDS,
    Figures,
    job_row,
    load_figures,
    pool_row,
    render_row,
    settle_load,
    user_row,
)
from trio_afrender.web.output_buffer import TaskOutput
from trio_afrender.web.topic import TableTopic, Topic, encode_json_text

__all__ = ("FarmWatch", "TaskListener")

_log = logging.getLogger(__name__)

_POLL = 1.0
"""Seconds between two polls."""
_LOADS = 5.0
"""Seconds in which the loads of all hosts are asked for once, a few hosts at a time."""
_LOADS_PER_SECOND = 150
"""Hosts a second at most: with more than five times as many, loads are older."""
_PIECE = 25
"""Nodes that are asked for at once: a page must not keep the loop of a farm in its process."""
_RETRIES = (1.0, 2.0, 4.0, 5.0)
"""Seconds between attempts to reach a server that is gone."""
_CLASSES = ("jobs", "renders", "users", "pools")
MAX_JOBS = 64
"""Jobs whose tasks are watched at once."""

TaskListener = Callable[[str | None, str], None]
"""Takes the whole output of a task, None without, and new pieces of it."""


@attrs.define(slots=True, eq=False)
class FarmWatch:
    """The state of a farm. `run` keeps it up to date."""

    farm: RemoteFarm
    clock: Callable[[], float] = time.time
    changed: RepeatedEvent = attrs.field(factory=RepeatedEvent)
    """Set when any topic has changed."""
    round: RepeatedEvent = attrs.field(factory=RepeatedEvent)
    """Set after each poll, and when the farm was lost or is back."""
    jobs: dict[int, JobNode] = attrs.field(factory=dict)
    renders: dict[int, RenderNode] = attrs.field(factory=dict)
    pools: dict[str, PoolNode] = attrs.field(factory=dict)
    loads: dict[int, Mapping[str, Any]] = attrs.field(factory=dict)
    """As the farm gives them, by the id of the render; none of offline ones."""
    history: LoadHistory = attrs.field(factory=lambda: LoadHistory(len(LOAD_FIELDS)))
    curves: PercentCurves = attrs.field(factory=PercentCurves)
    tables: dict[str, TableTopic] = attrs.field(factory=dict)
    server: Topic = attrs.field(init=False)
    monitor: EventMonitor | None = None
    """None while the farm cannot be reached."""
    connections: int = 0
    problem: str = "connecting"
    _since: float = 0.0
    _paces: dict[int, JobPace] = attrs.field(factory=dict)
    _figures: dict[int, Figures] = attrs.field(factory=dict)
    _watched: dict[int, JobTasks] = attrs.field(factory=dict)
    _unwatched: set[int] = attrs.field(factory=set)
    """Jobs without viewers of their tasks: the next poll ends their events."""
    _unheard: set[TaskKeyTuple] = attrs.field(factory=set)
    """Tasks without listeners: the next poll ends these, because a farm sends the outputs of so many
    tasks, not of more."""
    outputs: dict[TaskKeyTuple, TaskOutput] = attrs.field(factory=dict)
    """The outputs that are followed."""
    _listeners: dict[TaskKeyTuple, list[TaskListener]] = attrs.field(factory=dict)
    _subscribing: trio.Lock = attrs.field(factory=trio.Lock)
    """Held while the farm is asked to send something, or no more: of two requests at a time, the
    first may be done last."""

    def __attrs_post_init__(self) -> None:
        self._since = self.clock()
        self.server = Topic(
            "server", self.changed.set, self._describe_server, event="server", kept=False
        )
        for name in ("jobs", "renders", "loads", "users", "pools"):
            self.tables[name] = TableTopic(name, self.changed.set)

    def _describe_server(self) -> str:
        return encode_json_text(
            {
                "connected": self.monitor is not None,
                "since": round(self._since, 1),
                "error": self.problem,
                "time": round(self.clock(), 1),
            }
        )

    # The connection

    async def run(self) -> None:
        """Watch the farm until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_loads)
            failures = 0
            while True:
                try:
                    async with self.farm.open_monitor() as monitor:
                        await self._open(monitor)
                        failures = 0
                        while True:
                            await trio.sleep(_POLL)
                            await self._poll(monitor)
                except (LinkLost, LinkRefused, ProtocolError) as error:
                    if self.monitor is not None:
                        _log.warning("the page has lost the farm: %s", error)
                    self.report_lost(str(error))
                await trio.sleep(_RETRIES[min(failures, len(_RETRIES) - 1)])
                failures += 1

    def report_lost(self, problem: str) -> None:
        """Have viewers see that what is shown is kept up to date no more, and why."""
        if self.monitor is not None:
            self._since = self.clock()
        if self.monitor is not None or self.problem != problem:
            self.monitor = None
            self.problem = problem
            self.server.replace()
            self._wake_watched()

    async def _open(self, monitor: EventMonitor) -> None:
        """Subscribe to everything, then read everything. Raises what requests raise."""
        farm = self.farm
        await farm.watch(monitor, "perm", {"uid": 0})
        for each in _CLASSES:
            await farm.watch(monitor, each, {})
        await self._read_pools()
        await self._read_users()
        await self._read_all("renders")
        await self._read_all("jobs")
        for tasks in self._watched.values():
            tasks.begin_anew()
        self.monitor = monitor
        self.connections += 1
        self.problem = ""
        self._since = self.clock()
        for table in self.tables.values():
            table.show()
        self.server.replace()
        self._wake_watched()

    def _wake_watched(self) -> None:
        self.round.set()
        for tasks in self._watched.values():
            tasks.changed.set()
        self.changed.set()

    # Events

    async def _poll(self, monitor: EventMonitor) -> None:
        """Take the events since the last poll. Raises what requests raise."""
        events = await self.farm.take_events(monitor)
        if any(events.get(f"pools_{kind}") for kind in ("add", "change", "del")):
            await self._read_pools()
        if any(events.get(f"users_{kind}") for kind in ("add", "change", "del")):
            await self._read_users()
        for kind in ("renders", "jobs"):
            gone = _ids(events, f"{kind}_del")
            self._drop(kind, gone)
            wanted = dict.fromkeys([*_ids(events, f"{kind}_add"), *_ids(events, f"{kind}_change")])
            await self._read(kind, list(wanted))
        now = self.clock()
        for each in objects_of(events, "tasks_progress"):
            if (tasks := self._watched.get(integer_of(each, "job_id"))) is not None:
                tasks.take(each, now)
        blocks = events.get("block_ids")
        blocks = blocks if isinstance(blocks, dict) else {}
        modes = blocks.get("mode")
        for job, mode in zip(
            _ids(blocks, "job_id"), modes if isinstance(modes, list) else (), strict=False
        ):
            # The properties of a block have changed: its job is read again.
            if mode != "progress" and job in self._watched:
                self._watched[job].mark_stale()
        self._hand_output(events)
        self.round.set()
        await self._end_unwatched(monitor)

    async def _end_unwatched(self, monitor: EventMonitor) -> None:
        """Have the farm send no more of what has no viewers. Raises what requests raise."""
        # The polls of all viewers do not wait for a farm that answers one request slowly: what is
        # asked for at this moment makes this work for a later poll.
        if not (self._unwatched or self._unheard) or self._subscribing.locked():
            return
        async with self._subscribing:
            unwatched, self._unwatched = self._unwatched - {*self._watched}, set()
            if unwatched:
                await self.farm.watch(monitor, "tasks", {"ids": sorted(unwatched)}, on=False)
            unheard, self._unheard = self._unheard - {*self._listeners}, set()
            for key in sorted(key for key in unheard if key[0] in self.jobs):
                with suppress(LinkRefused):  # its job has just been deleted
                    await self.farm.watch(monitor, "listen", _place(key), on=False)

    def _hand_output(self, events: Mapping[str, Any]) -> None:
        for name in ("tasks_outputs", "tasks_listens"):
            for each in objects_of(events, name):
                pos = each.get("pos")
                text = text_of(each, "data")
                if not isinstance(pos, dict) or is_error_text(text):
                    continue
                key = (integer_of(pos, "job"), integer_of(pos, "block"), integer_of(pos, "task"))
                whole = name == "tasks_outputs"
                for take in self._listeners.get(key, ()):
                    take(text if whole else None, "" if whole else text)

    async def _read_pools(self) -> None:
        self.pools = await self.farm.pools()
        self.tables["pools"].update(map(pool_row, self.pools.values()))
        self.tables["pools"].keep_only(pool.id for pool in self.pools.values())

    async def _read_users(self) -> None:
        users = await self.farm.users()
        self.tables["users"].update(map(user_row, users))
        self.tables["users"].keep_only(user.id for user in users)

    async def _read_all(self, kind: str) -> None:
        """Read all nodes, a few at a time, after a list of what there is."""
        found = await self.farm.list_ids(kind)
        known = self.jobs if kind == "jobs" else self.renders
        self._drop(kind, {*known} - {*found})
        await self._read(kind, found)

    async def _read(self, kind: str, ids: Sequence[int]) -> None:
        size = self.farm.jobs_at_once if kind == "jobs" else _PIECE
        for start in range(0, len(ids), size):
            piece = ids[start : start + size]
            if kind == "jobs":
                self._take_jobs(await self.farm.jobs(ids=piece), piece)
                continue
            found = await self.farm.renders(ids=piece, pools=self.pools)
            self.renders.update((render.id, render) for render in found)
            self.tables["renders"].update(map(render_row, found))
            self._drop_loads(render.id for render in found if not render.online)
            self._drop("renders", {*piece} - {render.id for render in found})

    def _take_jobs(self, found: Sequence[JobNode], asked: Sequence[int]) -> None:
        now = self.clock()
        rows = []
        for job in found:
            if job.is_system:
                continue
            old = self.jobs.get(job.id)
            if old is not None and old.serial != job.serial:
                self._drop("jobs", [job.id])
            self.jobs[job.id] = job
            pace = self._paces.setdefault(job.id, JobPace())
            pace.add(job, now)
            rows.append(job_row(job, pace))
            if job.id in self._watched:
                self._watched[job.id].take_node(job)
        self.tables["jobs"].update(rows)
        self._drop("jobs", {*asked} - {job.id for job in found})

    def _drop(self, kind: str, ids: Iterable[int]) -> None:
        ids = list(ids)
        for each in ids:
            if kind == "jobs":
                self.jobs.pop(each, None)
                self._paces.pop(each, None)
                if (tasks := self._watched.get(each)) is not None:
                    tasks.gone = f"job {each} was deleted"
                    tasks.changed.set()
            else:
                self.renders.pop(each, None)
        if kind == "renders":
            self._drop_loads(ids)
        if ids:
            self.tables[kind].update((), ids)

    def _drop_loads(self, renders: Iterable[int]) -> None:
        gone = [each for each in renders if self.loads.pop(each, None) is not None]
        for each in gone:
            self._figures.pop(each, None)
        if gone:
            self.tables["loads"].update((), gone)

    # Loads

    async def _run_loads(self) -> None:
        """Ask for the loads of a few hosts at a time, all of them again and again."""
        while True:
            ids = list(self.renders)
            pieces = [ids[start : start + _PIECE] for start in range(0, len(ids), _PIECE)]
            pause = max(_LOADS, len(ids) / _LOADS_PER_SECOND) / max(1, len(pieces))
            self.history.keep_only(ids)
            for piece in pieces or [[]]:
                if piece and self.monitor is not None:
                    try:
                        self._take_loads(await self.farm.load_answers(piece))
                    except (LinkLost, LinkRefused, ProtocolError) as error:
                        _log.debug("no loads: %s", error)  # the poll notices it too
                await trio.sleep(pause)

    def _take_loads(self, answers: Sequence[Mapping[str, Any]]) -> None:
        rows = []
        changed = []
        now = self.clock()
        for answer in answers:
            number = integer_of(answer, "id")
            render = self.renders.get(number)
            if render is None:
                continue
            percents = answer.get("tasks_percents")
            if isinstance(percents, list) and len(percents) == len(render.tasks):
                tasks = tuple(
                    attrs.evolve(task, percent=percent if isinstance(percent, int) else -1)
                    for task, percent in zip(render.tasks, percents, strict=True)
                )
                for task in tasks:
                    key = (task.job, task.block, task.task)
                    self.curves.add(key, task.started, task.percent, now)
                if tasks != render.tasks:
                    self.renders[number] = attrs.evolve(render, tasks=tasks)
                    changed.append(render_row(self.renders[number]))
            load = answer.get("host_resources")
            if isinstance(load, dict) and render.online:
                self.loads[number] = load
                figures = load_figures(load)
                shown = self._figures[number] = settle_load(self._figures.get(number), figures)
                rows.append({"id": number, "load": list(shown)})
                self.history.add(number, now, figures)
        self.tables["loads"].update(rows)
        self.tables["renders"].update(changed)

    # What single viewers watch

    @contextmanager
    def watch_job(self, job: int) -> Iterator[JobTasks]:
        """Watch the tasks of a job. `load_tasks` reads them. Raises `LinkRefused` for too many."""
        tasks = self._watched.get(job)
        if tasks is None:
            if len(self._watched) >= MAX_JOBS:
                raise LinkRefused(f"the tasks of {MAX_JOBS} jobs are watched already: try later")
            tasks = self._watched[job] = JobTasks(job, self.curves)
        tasks.watchers += 1
        try:
            yield tasks
        finally:
            tasks.watchers -= 1
            if not tasks.watchers and self._watched.get(job) is tasks:
                del self._watched[job]
                self._unwatched.add(job)

    async def load_tasks(self, tasks: JobTasks) -> None:
        """Read all tasks of a job, if that is due, and have the farm send their changes.

        Raises what requests raise; `tasks.gone` says that there is no such job.
        """
        if self.monitor is None:
            raise LinkLost(self.problem)
        async with tasks.loading:
            if not tasks.stale or tasks.gone:
                return
            node = self.jobs.get(tasks.job)
            if node is not None:
                with suppress(JobGone):
                    # First, so that no change is missed.
                    marks = tasks.marks
                    monitor = await self._subscribe("tasks", {"ids": [tasks.job]})
                    names = await self.farm.task_names(node)
                    await tasks.load(node, names, await self.farm.progress(tasks.job), marks)
                    # Both may be others since they were read.
                    if (latest := self.jobs.get(tasks.job)) is not None:
                        tasks.take_node(latest)
                    if monitor is not self.monitor:
                        tasks.mark_stale()
                    return
            tasks.gone = f"there is no job {tasks.job}"
            tasks.changed.set()

    def find_watched(self, job: int, block: int, task: int) -> TaskNode | None:
        """A task as it is now, if the tasks of its job are watched."""
        tasks = self._watched.get(job)
        found = tasks.find(block, task) if tasks is not None and not tasks.stale else None
        return found[0] if found is not None else None

    @asynccontextmanager
    async def listen(self, key: TaskKeyTuple, take: TaskListener) -> AsyncIterator[None]:
        """Have the farm send what a running task prints, and `take` called with it.

        Raises what requests raise.
        """
        self._listeners.setdefault(key, []).append(take)
        try:
            await self._subscribe("listen", _place(key))
            yield
        finally:
            self._listeners[key].remove(take)
            if not self._listeners[key]:
                del self._listeners[key]
                self._unheard.add(key)

    async def _subscribe(self, kind: str, asked: Mapping[str, object]) -> EventMonitor:
        """Have the farm send events, by the registration that is returned."""
        async with self._subscribing:
            if self.monitor is None:
                raise LinkLost(self.problem)
            monitor = self.monitor
            await self.farm.watch(monitor, kind, asked)
            return monitor


def _place(key: TaskKeyTuple) -> dict[str, object]:
    return dict(zip(("job", "block", "task"), key, strict=True))


def _ids(fields: Mapping[str, Any], key: str) -> list[int]:
    value = fields.get(key)
    return [each for each in value if isinstance(each, int)] if isinstance(value, list) else []

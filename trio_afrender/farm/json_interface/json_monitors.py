"""Monitors: clients that poll for the ids of what has changed. No I/O.

A monitor that does not poll for `ZOMBIE_TIME` is dropped, so its events cannot grow for ever. Until
then each id waits once, texts have a limit, and a monitor that misses more than `MAX_TASKS` changed
tasks is dropped at once: its client then registers again and fetches everything.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import attrs
import trio

from trio_afrender.farm.changes import BlockMode, ChangeKind, NodeChanges
from trio_afrender.farm.json_interface.answers import Answer
from trio_afrender.farm.json_interface.node_fields import without_empty
from trio_afrender.farm.node_log import NodeLog
from trio_afrender.farm.state import FarmState
from trio_afrender.protocol.messages import TaskKey

__all__ = (
    "MAX_LISTENS",
    "MAX_MONITORS",
    "MAX_TASKS",
    "NODE_CLASSES",
    "ROOT",
    "ZOMBIE_TIME",
    "JsonMonitor",
    "MonitorRegistry",
)

_log = logging.getLogger(__name__)

ZOMBIE_TIME = 16.0
"""Seconds without a poll after which a monitor is dropped: Afanasy's `af_monitor_zombietime`."""
MAX_MONITORS = 256
MAX_TASKS = 100_000
"""Changed tasks that wait for one monitor."""
MAX_TEXT = 4 * 1024 * 1024
"""Characters of outputs and messages that wait for one monitor."""
MAX_OUTPUTS = 1000
"""Asked outputs that wait for one monitor."""
MAX_LISTENS = 64
"""Tasks to which one monitor listens."""
NODE_CLASSES = ("jobs", "users", "renders", "monitors", "branches", "pools")
ROOT = 1
"""The id of the only branch and of the only pool."""


@attrs.define(slots=True, eq=False)
class _Waiting:
    """What waits for a monitor's next poll."""

    nodes: dict[str, NodeChanges] = attrs.field(factory=dict)
    tasks: dict[TaskKey, None] = attrs.field(factory=dict)
    blocks: dict[tuple[int, int], BlockMode] = attrs.field(factory=dict)
    order: bool = False
    outputs: list[tuple[TaskKey, str]] = attrs.field(factory=list)
    listened: dict[TaskKey, list[str]] = attrs.field(factory=dict)
    messages: list[str] = attrs.field(factory=list)
    instruction: str = ""
    text: int = 0
    """Characters of outputs, listened texts and messages."""
    missed: int = 0
    """Characters left out of them."""


@attrs.define(slots=True, eq=False, kw_only=True)
class JsonMonitor:
    """One registered client."""

    id: int
    user_name: str
    host_name: str
    engine: str
    address: str
    uid: int
    """Whose jobs it sees; 0: those of all users, -1: none, because the user is not known."""
    time_register: float
    """Unix time, like the next one."""
    time_activity: float = 0.0
    time_update: float = 0.0
    last_poll: float
    """The farm's clock."""
    classes: set[str] = attrs.field(factory=set)
    task_jobs: set[int] = attrs.field(factory=set)
    """Jobs whose tasks it watches."""
    listens: dict[TaskKey, trio.CancelScope] = attrs.field(factory=dict)
    node_log: NodeLog = attrs.field(factory=NodeLog)
    waiting: _Waiting = attrs.field(factory=_Waiting)

    @property
    def name(self) -> str:
        return f"{self.user_name}@{self.host_name}"

    def sees(self, uid: int) -> bool:
        """Whether it gets the jobs of a user."""
        return self.uid in (0, uid)

    def note(self, kind_of_node: str, node: int, kind: ChangeKind) -> None:
        """Note a change of a node, if it watches nodes of that kind."""
        if kind_of_node in self.classes:
            self.waiting.nodes.setdefault(kind_of_node, NodeChanges()).note(node, kind)

    def add_output(self, key: TaskKey, text: str) -> None:
        """Add the output of a running task that it has asked for."""
        if len(self.waiting.outputs) < MAX_OUTPUTS:
            self.waiting.outputs.append((key, self._cut(text)))
        else:
            self.waiting.missed += len(text)

    def add_listened(self, key: TaskKey, text: str) -> None:
        """Add new output of a task that it listens to."""
        if taken := self._cut(text):
            self.waiting.listened.setdefault(key, []).append(taken)

    def add_message(self, text: str) -> None:
        """Add a message of another user."""
        if taken := self._cut(text):
            self.waiting.messages.append(taken)

    def _cut(self, text: str) -> str:
        """The part of a text for which there is room."""
        waiting = self.waiting
        taken = text[: MAX_TEXT - waiting.text]
        waiting.text += len(taken)
        waiting.missed += len(text) - len(taken)
        return taken


@attrs.define(slots=True, eq=False, kw_only=True)
class MonitorRegistry:
    """All monitors of a farm. While there is one, the farm collects changes."""

    state: FarmState
    describe_task: Callable[[TaskKey, str, str], Answer]
    """Makes the message about a task from its key, the type and the text."""
    describe_progress: Callable[[TaskKey], Answer | None]
    """Makes the progress item of a task; None for one that is gone."""
    order_of: Callable[[int], list[int]]
    """The ids of the jobs of a user, in the order in which they are solved."""
    monitors: dict[int, JsonMonitor] = attrs.field(factory=dict)
    next_id: int = 1
    """Grows, so that no client gets the events of a monitor that has been dropped."""
    earlier: trio.Event = attrs.field(factory=trio.Event)
    """Set when the first monitor has come."""

    def register(
        self, *, user_name: str, host_name: str, engine: str, address: str, now: float
    ) -> JsonMonitor | None:
        """Add a monitor; None when there are too many."""
        self.expire(now)
        if len(self.monitors) >= MAX_MONITORS:
            return None
        wall = self.state.wall()
        user = self.state.users.get(user_name)
        monitor = JsonMonitor(
            id=self.next_id,
            user_name=user_name,
            host_name=host_name,
            engine=engine,
            address=address,
            uid=user.id if user else -1,
            time_register=wall,
            time_update=wall,
            last_poll=now,
        )
        if self.monitors:
            self.distribute()  # what happened before it came is not for it
        if not self.monitors:  # `distribute` may have dropped the last one
            self.state.changes.watch(on=True)
        self.next_id += 1
        self.monitors[monitor.id] = monitor
        self._note_monitor(monitor.id, "add")
        self.earlier.set()
        return monitor

    def drop(self, monitor: JsonMonitor) -> None:
        """Forget a monitor and end what runs for it."""
        if self.monitors.pop(monitor.id, None) is None:
            return
        for scope in monitor.listens.values():
            scope.cancel()
        self._note_monitor(monitor.id, "del")
        if not self.monitors:
            self.state.changes.watch(on=False)

    def drop_all(self) -> None:
        """Drop all monitors; the farm collects no changes then."""
        for monitor in list(self.monitors.values()):
            self.drop(monitor)

    def expire(self, now: float) -> None:
        """Drop the monitors that have not polled for `ZOMBIE_TIME`."""
        for monitor in list(self.monitors.values()):
            if monitor.last_poll + ZOMBIE_TIME <= now:
                _log.info("monitor %s: no poll for %g s, dropped", monitor.name, ZOMBIE_TIME)
                self.drop(monitor)

    async def run_clock(self) -> None:
        """Drop monitors when their time is over, until cancelled."""
        while True:
            # Again, because one that has come may have gone before this task runs.
            while not self.monitors:
                self.earlier = trio.Event()
                await self.earlier.wait()
            first = min(monitor.last_poll for monitor in self.monitors.values())
            await trio.sleep_until(first + ZOMBIE_TIME)
            self.expire(trio.current_time())

    def poll(self, monitor: JsonMonitor, now: float) -> Answer | None:
        """Return what has happened since the last poll; None if nothing has."""
        self.distribute()
        if monitor.id not in self.monitors:
            return None
        monitor.last_poll = now
        monitor.time_update = self.state.wall()
        taken, monitor.waiting = monitor.waiting, _Waiting()
        nodes: dict[str, list[int]] = {}
        for kind in NODE_CLASSES:
            changes = taken.nodes.get(kind, NodeChanges())
            nodes[f"{kind}_add"] = list(changes.added)
            nodes[f"{kind}_change"] = list(changes.changed)
            nodes[f"{kind}_del"] = list(changes.deleted)
        progress: dict[int, tuple[list[int], list[int], list[Answer]]] = {}
        for key in taken.tasks:
            item = self.describe_progress(key)
            if item is not None:
                in_blocks, tasks, items = progress.setdefault(key.job, ([], [], []))
                in_blocks.append(key.block)
                tasks.append(key.task)
                items.append(item)
        blocks = [(*key, mode) for key, mode in taken.blocks.items() if key[0] in self.state.jobs]
        block_ids = {
            "job_id": [job for job, _, _ in blocks],
            "block_num": [block for _, block, _ in blocks],
            "mode": [mode for _, _, mode in blocks],
        }
        listened = ((key, "".join(texts)) for key, texts in taken.listened.items())
        if taken.missed:
            text = (
                f"{taken.missed} characters of outputs and messages were left out: poll more often"
            )
            taken.messages.append(text)
        events = without_empty(
            **nodes,
            tasks_progress=[
                {"job_id": job, "blocks": in_blocks, "tasks": tasks, "progress": items}
                for job, (in_blocks, tasks, items) in progress.items()
            ],
            block_ids=block_ids if blocks else {},
            jobs_order_ids=self.order_of(monitor.uid) if taken.order else [],
            tasks_outputs=[self.describe_task(key, "TOutput", text) for key, text in taken.outputs],
            tasks_listens=[self.describe_task(key, "TListen", text) for key, text in listened],
            message="\n".join(taken.messages),
            instruction=taken.instruction,
        )
        return events or None

    def announce(self, text: str) -> None:
        """Send a message to all monitors."""
        for monitor in self.monitors.values():
            monitor.add_message(text)

    def distribute(self) -> None:
        """Hand the changes of the farm to the monitors that watch them."""
        batch = self.state.changes.take()
        for monitor in list(self.monitors.values()):
            for kind_of_node, changes in (
                ("users", batch.users),
                ("renders", batch.renders),
            ):
                for node, kind in _each(changes):
                    monitor.note(kind_of_node, node, kind)
            for job, kind in _each(batch.jobs):
                if kind == "del":
                    owner = self.state.users.get(batch.job_owners.get(job, ""))
                else:
                    found = self.state.jobs.get(job)
                    owner = found.user if found else None
                if monitor.sees(owner.id if owner else -2):  # -2: of no user
                    monitor.note("jobs", job, kind)
            # The pool shows how many renders are busy, the branch which jobs are there and run.
            renders = batch.renders.added or batch.renders.changed or batch.renders.deleted
            if batch.pool or renders:
                monitor.note("pools", ROOT, "change")
            if batch.jobs.added or batch.jobs.deleted or (renders and batch.tasks):
                monitor.note("branches", ROOT, "change")
            waiting = monitor.waiting
            if monitor.task_jobs:
                waiting.tasks.update((k, None) for k in batch.tasks if k.job in monitor.task_jobs)
                waiting.blocks.update(
                    (key, "full" if waiting.blocks.get(key) == "full" else mode)
                    for key, mode in batch.blocks.items()
                    if key[0] in monitor.task_jobs
                )
            waiting.order = waiting.order or monitor.uid in batch.orders
            if len(monitor.waiting.tasks) > MAX_TASKS:
                _log.warning(
                    "monitor %s: more than %d changed tasks wait for it, dropped",
                    monitor.name,
                    MAX_TASKS,
                )
                self.drop(monitor)

    def _note_monitor(self, node: int, kind: ChangeKind) -> None:
        for monitor in self.monitors.values():
            monitor.note("monitors", node, kind)


def _each(changes: NodeChanges) -> Iterator[tuple[int, ChangeKind]]:
    # Deletions first: an id that is used again is deleted before it is added.
    for node in changes.deleted:
        yield node, "del"
    for node in changes.added:
        yield node, "add"
    for node in changes.changed:
        yield node, "change"

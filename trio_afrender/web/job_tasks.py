"""All tasks of one job that has viewers, kept up to date by the events of the farm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import trio

from trio_afrender.afserver.remote_nodes import (
    Fields,
    JobNode,
    TaskNode,
    integer_of,
    read_tasks,
    text_of,
)
from trio_afrender.async_helpers import RepeatedEvent
from trio_afrender.web.load_history import PercentCurves
from trio_afrender.web.task_rows import compact_row, curve_key
from trio_afrender.web.topic import encode_json_text

__all__ = ("JobTasks", "TaskKeyTuple")

TaskKeyTuple = tuple[int, int, int]
"""Job, block, task."""
_MAX_WAITING = 1000
_PIECE = 250
"""Tasks that are read before other tasks of this process run."""


@attrs.define(slots=True, eq=False)
class _ShownTasks:
    """The items of the progress of all tasks, and their rows."""

    node: JobNode | None
    items: list[list[Fields]] = attrs.field(factory=list)
    texts: dict[tuple[int, int], str] = attrs.field(factory=dict)
    """The JSON of the row of each task."""
    renders: list[str] = attrs.field(factory=list)
    taken: int = 0
    """How many of them viewers know."""
    _places: dict[str, int] = attrs.field(factory=dict)

    def show(self, block: int, task: int) -> str:
        """Make the row of a task again; return its JSON."""
        item = self.items[block][task]
        name = text_of(item, "hst")
        place = self._places.get(name, 0) if name else 0
        if name and not place:
            self.renders.append(name)
            place = self._places[name] = len(self.renders)
        blocks = self.node.blocks if self.node is not None else ()
        waits = block < len(blocks) and "WDP" in blocks[block].states
        row = compact_row(block, task, item, place, waits=waits)
        text = self.texts[block, task] = str(row).replace(" ", "")
        return text


@attrs.define(slots=True, eq=False)
class JobTasks:
    """The tasks of one job. `generation` grows when all of them were read again."""

    job: int
    curves: PercentCurves
    node: JobNode | None = None
    generation: int = 0
    gone: str = ""
    """Why there is nothing to be watched."""
    stale: bool = True
    """Whether all tasks have to be read."""
    marks: int = 0
    """How often they were found to be stale."""
    changed: RepeatedEvent = attrs.field(factory=RepeatedEvent)
    names: list[list[str]] = attrs.field(factory=list)
    publish: Callable[[list[str]], None] | None = None
    """Called with the JSON of rows that have changed, at once: a snapshot has them from then on."""
    loading: trio.Lock = attrs.field(factory=trio.Lock)
    watchers: int = 0
    _shown: _ShownTasks = attrs.field(factory=lambda: _ShownTasks(None))
    _waiting: list[tuple[Mapping[str, Any], float]] = attrs.field(factory=list)
    """Events that have come while all tasks were read."""

    def mark_stale(self) -> None:
        """Have all tasks read, also if they are being read now."""
        self.stale = True
        self.marks += 1
        self.changed.set()

    def begin_anew(self) -> None:
        """Have all tasks read by a new registration, which brings no event of before again."""
        self._waiting.clear()
        self.mark_stale()

    async def load(
        self, node: JobNode, names: list[list[str]], progress: list[list[object]], marks: int
    ) -> None:
        """Take the whole job, which was asked for at so many `marks`. Events that have come
        meanwhile are applied to it."""
        shown = _ShownTasks(node)
        shown.items = [
            [each if isinstance(each, dict) else {} for each in items] for items in progress
        ]
        for block, items in enumerate(shown.items):
            for start in range(0, len(items), _PIECE):
                for task in range(start, min(start + _PIECE, len(items))):
                    shown.show(block, task)
                await trio.lowlevel.checkpoint()
        self.node, self.names, self._shown = node, names, shown
        self.stale = self.marks != marks
        waiting, self._waiting = self._waiting, []
        for event, now in waiting:
            self._apply(event, now)
        self.generation += 1
        self.changed.set()

    def take(self, event: Mapping[str, Any], now: float) -> None:
        """Take an event with the progress of some tasks. `now` is Unix time."""
        if self.stale:
            # All tasks are read, or will be: what they were a moment ago must not count.
            self._waiting.append((event, now))
            del self._waiting[:-_MAX_WAITING]
            return
        if (rows := self._apply(event, now)) and self.publish is not None:
            self.publish(rows)
        self.changed.set()

    def _apply(self, event: Mapping[str, Any], now: float) -> list[str]:
        """Apply an event; return the rows that have changed."""
        blocks, tasks, items = (event.get(key) for key in ("blocks", "tasks", "progress"))
        if not (isinstance(blocks, list) and isinstance(tasks, list) and isinstance(items, list)):
            return []
        shown, rows = self._shown, []
        for block, task, item in zip(blocks, tasks, items, strict=False):
            if not (isinstance(block, int) and isinstance(task, int) and isinstance(item, dict)):
                continue
            if not (0 <= block < len(shown.items) and 0 <= task < len(shown.items[block])):
                self.mark_stale()  # tasks were added
                break
            shown.items[block][task] = item
            key = (self.job, block, task)
            self.curves.add(key, curve_key(item), integer_of(item, "per"), now)
            before = shown.texts[block, task]
            if (text := shown.show(block, task)) != before:
                rows.append(text)
        return rows

    def take_node(self, node: JobNode) -> None:
        """Take the job as it is in the list of jobs."""
        old, self.node = self.node, node
        if old is None:
            return
        if old.serial != node.serial:
            self.gone = f"job {self.job} is another one now"
            self.changed.set()
        # Whether a block waits for others is a state of the block.
        elif [(b.tasks, "WDP" in b.states) for b in old.blocks] != [
            (b.tasks, "WDP" in b.states) for b in node.blocks
        ]:
            self.mark_stale()

    async def wait(self) -> None:
        """Wait for a change, unless all tasks have to be read, or are gone."""
        if self.stale or self.gone:
            await trio.lowlevel.checkpoint()
        else:
            await self.changed.wait()

    def take_renders(self) -> list[str]:
        """The names of renders that have been added since the last call."""
        shown = self._shown
        added = shown.renders[shown.taken :]
        shown.taken = len(shown.renders)
        return added

    def describe(self, topic: str) -> str:
        """The JSON of a snapshot."""
        node = self.node
        assert node is not None  # noqa: S101 - it is loaded
        blocks = ",".join(
            f'{{"block":{number},"name":{encode_json_text(block.name)},'
            f'"names":{encode_json_text(self.names[number] if number < len(self.names) else [])}}}'
            for number, block in enumerate(node.blocks)
        )
        head = encode_json_text(
            {
                "topic": topic,
                "serial": node.serial,
                "name": node.name,
                "user": node.user_name,
                "renders": self._shown.renders,
            }
        )[:-1]
        rows = ",".join(self._shown.texts.values())
        return f'{head},"blocks":[{blocks}],"rows":[{rows}]}}'

    def find(self, block: int, task: int) -> tuple[TaskNode, Fields] | None:
        """One task with the item of its progress; None if there is none."""
        node = self.node
        items = self._shown.items
        if node is None or not 0 <= block < min(len(items), len(node.blocks)):
            return None
        if not 0 <= task < len(items[block]):
            return None
        item = items[block][task]
        one = attrs.evolve(node, blocks=(node.blocks[block],))
        read = read_tasks(one, [[item]])[0]
        # Names are read before the progress: tasks may have been added in between.
        names = self.names[block] if block < len(self.names) else []
        name = names[task] if task < len(names) else f"task {task}"
        return attrs.evolve(read, task=task, name=name), item

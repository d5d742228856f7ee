"""Renders, jobs, blocks, tasks, users and pools in the JSON answers of a farm, as values. No I/O.

A server leaves out most fields that are empty or 0, and an older or newer one may have other types.
So a field that is missing or of another type counts as its default.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, repeat
from typing import Any, TypeAlias

import attrs

from trio_afrender.jobs.job_spec import BlockSpec, TaskSpec

__all__ = (
    "TASK_STATES",
    "BlockNode",
    "JobNode",
    "PoolNode",
    "RenderNode",
    "RenderedTask",
    "TaskNode",
    "UserNode",
    "flag_of",
    "integer_of",
    "objects_of",
    "read_job",
    "read_pool",
    "read_render",
    "read_tasks",
    "read_user",
    "text_of",
    "texts_of",
)

Fields: TypeAlias = Mapping[str, Any]

_TASK_WORDS = {
    "RDY": 0, "RUN": 1, "DON": 4, "ERR": 5, "SKP": 8, "OFF": 9, "WRN": 10, "PER": 11, "PBR": 12,
    "PSC": 13, "WDP": 2, "WTM": 3, "STO": 6, "STE": 7, "PPA": 16, "RER": 17, "WRC": 18, "TRY": 19,
    "SUS": 20,
}  # fmt: skip
"""Word -> bit of jobs, blocks and tasks, in the order in which a server writes them."""
TASK_STATES = tuple(_TASK_WORDS)
"""The words of states of jobs, blocks and tasks."""
_RENDER_WORDS = {
    "ONL": 0, "NbY": 1, "NBY": 2, "RUN": 3, "DRT": 4, "WFL": 5, "WSL": 6, "WWK": 7, "PAU": 8,
    "SIC": 9,
}  # fmt: skip
_POOL_WORDS = {"RUN": 0, "PAU": 1}
DEFAULT_CAPACITY, DEFAULT_MAX_TASKS = 1100, 4
"""What counts for a render if neither it nor its pools have a value."""


def integer_of(fields: Fields, key: str, default: int = 0) -> int:
    """An integer of an answer."""
    value = fields.get(key)
    # True and False are integers for Python, and are another type in JSON.
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def text_of(fields: Fields, key: str) -> str:
    """A string of an answer."""
    value = fields.get(key)
    return value if isinstance(value, str) else ""


def flag_of(fields: Fields, key: str) -> bool:
    """A boolean of an answer."""
    return fields.get(key) is True


def texts_of(fields: Fields, key: str) -> tuple[str, ...]:
    """The strings of a list of an answer."""
    value = fields.get(key)
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()


def objects_of(fields: Fields, key: str) -> list[Fields]:
    """The objects of a list of an answer."""
    value = fields.get(key)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _words(bits: int, words: Mapping[str, int]) -> tuple[str, ...]:
    # Other bits are left out: a server sets some for its own use, such as bit 62.
    return tuple(word for word, bit in words.items() if bits >> bit & 1)


@attrs.frozen(slots=True, kw_only=True)
class RenderedTask:
    """A task that a render runs. `started` is Unix time, `percent` -1 before the first one."""

    job: int
    block: int
    task: int
    name: str
    job_name: str
    block_name: str
    user_name: str
    service: str
    started: int
    percent: int


@attrs.frozen(slots=True, kw_only=True)
class RenderNode:
    """One render. Times are Unix time; `fields` is what the server sent."""

    id: int
    name: str
    states: tuple[str, ...]
    """Afanasy's words; ``OFF`` for one that is offline."""
    user_name: str
    priority: int
    capacity: int
    capacity_used: int
    max_tasks: int
    tasks: tuple[RenderedTask, ...]
    idle_since: int
    fields: Fields = attrs.field(repr=False)

    @property
    def online(self) -> bool:
        return "ONL" in self.states

    @property
    def address(self) -> str:
        address = self.fields.get("address")
        return text_of(address, "ip") if isinstance(address, dict) else ""


def read_render(fields: Fields, pools: Mapping[str, PoolNode]) -> RenderNode:
    """Read a render of a list of renders."""
    bits = integer_of(fields, "st")
    words = _words(bits, _RENDER_WORDS)
    percents = fields.get("tasks_percents")
    pool = pools.get(text_of(fields, "pool"))
    capacity, max_tasks = (
        integer_of(fields, key, pool.limit(key, pools, default) if pool else default)
        for key, default in (
            ("capacity_host", DEFAULT_CAPACITY),
            ("max_tasks_host", DEFAULT_MAX_TASKS),
        )
    )
    return RenderNode(
        id=integer_of(fields, "id"),
        name=text_of(fields, "name"),
        states=words if "ONL" in words else ("OFF", *words),
        user_name=text_of(fields, "user_name"),
        priority=integer_of(fields, "priority"),
        capacity=capacity,
        capacity_used=integer_of(fields, "capacity_used"),
        max_tasks=max_tasks,
        tasks=tuple(
            RenderedTask(
                job=integer_of(each, "job_id"),
                block=integer_of(each, "block_num"),
                task=integer_of(each, "task_num"),
                name=text_of(each, "name"),
                job_name=text_of(each, "job_name"),
                block_name=text_of(each, "block_name"),
                user_name=text_of(each, "user_name"),
                service=text_of(each, "service"),
                started=integer_of(each, "time_start"),
                percent=percent if isinstance(percent, int) else -1,
            )
            # Two lists of one order: the percentages stand beside the tasks, and can be fewer.
            for each, percent in zip(
                objects_of(fields, "tasks"),
                chain(percents if isinstance(percents, list) else (), repeat(-1)),
                strict=False,
            )
        ),
        idle_since=integer_of(fields, "idle_time"),
        fields=fields,
    )


@attrs.frozen(slots=True, kw_only=True)
class BlockNode:
    """One block of a job, with how far its tasks are."""

    number: int
    name: str
    service: str
    states: tuple[str, ...]
    tasks: int
    ready: int
    running: int
    done: int
    """Skipped ones included."""
    error: int
    skipped: int
    percent: int
    capacity: int
    error_hosts: int
    """Renders with an error of this block."""
    avoided_hosts: int
    """Of these, renders that get its tasks no more."""
    seconds: int
    """Run times of the done tasks together."""
    spec: BlockSpec = attrs.field(repr=False)
    fields: Fields = attrs.field(repr=False)

    def task_name(self, number: int) -> str:
        """The displayed name of a task; without its list, its number."""
        known = self.spec.numeric or number < len(self.spec.tasks)
        return self.spec.task_name(number) if known else f"task {number}"


@attrs.frozen(slots=True, kw_only=True)
class JobNode:
    """One job. `serial` tells it from a later job with the same id. Times are Unix time."""

    id: int
    serial: int
    name: str
    user_name: str
    states: tuple[str, ...]
    priority: int
    hidden: bool
    locked: bool
    """It is being deleted."""
    created: int
    started: int
    finished: int
    blocks: tuple[BlockNode, ...]
    fields: Fields = attrs.field(repr=False)

    @property
    def is_system(self) -> bool:
        """Whether it is the server's own job, which no user has submitted."""
        return self.id == 1 and self.user_name == "afadmin"

    @property
    def tasks(self) -> int:
        return sum(block.tasks for block in self.blocks)

    def count(self, name: str) -> int:
        """The tasks of all blocks in a state: ``ready``, ``running``, ``done``, ``error`` ..."""
        return sum(getattr(block, name) for block in self.blocks)

    @property
    def percent(self) -> float:
        """How much of the job is done; blocks count by their tasks."""
        total = self.tasks
        return sum(block.percent * block.tasks for block in self.blocks) / total if total else 0.0


def read_job(fields: Fields) -> JobNode:
    """Read a job of a list of jobs, short or full."""
    return JobNode(
        id=integer_of(fields, "id"),
        # A server uses the ids of deleted jobs again.
        serial=integer_of(fields, "serial"),
        name=text_of(fields, "name"),
        user_name=text_of(fields, "user_name"),
        states=_words(integer_of(fields, "st"), _TASK_WORDS),
        priority=integer_of(fields, "priority"),
        hidden=flag_of(fields, "hidden"),
        locked=flag_of(fields, "locked"),
        created=integer_of(fields, "time_creation"),
        started=integer_of(fields, "time_started"),
        finished=integer_of(fields, "time_done"),
        blocks=tuple(_read_block(i, each) for i, each in enumerate(objects_of(fields, "blocks"))),
        fields=fields,
    )


def _read_block(number: int, fields: Fields) -> BlockNode:
    tasks = [
        TaskSpec(name=text_of(task, "name"), command=text_of(task, "command"))
        for task in objects_of(fields, "tasks")
    ]
    spec = BlockSpec(
        name=text_of(fields, "name"),
        service=text_of(fields, "service"),
        tasks_name=text_of(fields, "tasks_name"),
        tasks=tuple(tasks),
        flags=integer_of(fields, "flags"),
        frame_first=integer_of(fields, "frame_first"),
        frame_last=integer_of(fields, "frame_last"),
        frames_per_task=integer_of(fields, "frames_per_task", 1),
        frames_inc=integer_of(fields, "frames_inc", 1),
    )
    total = integer_of(fields, "tasks_num")
    done = integer_of(fields, "p_tasks_done")
    return BlockNode(
        number=number,
        name=spec.name,
        service=spec.service,
        states=_words(integer_of(fields, "st"), _TASK_WORDS),
        tasks=total,
        ready=integer_of(fields, "p_tasks_ready"),
        running=integer_of(fields, "running_tasks_counter"),
        done=done,
        error=integer_of(fields, "p_tasks_error"),
        skipped=integer_of(fields, "p_tasks_skipped"),
        # A server that has just solved the last task may say 99.
        percent=100 if total and done >= total else integer_of(fields, "p_percentage"),
        capacity=integer_of(fields, "capacity"),
        error_hosts=integer_of(fields, "p_error_hosts"),
        avoided_hosts=integer_of(fields, "p_avoid_hosts"),
        seconds=integer_of(fields, "p_tasks_run_time_sum"),
        spec=spec,
        fields=fields,
    )


@attrs.frozen(slots=True, kw_only=True)
class TaskNode:
    """One task and how far it is. Times are Unix time."""

    job: int
    block: int
    task: int
    name: str
    block_name: str
    states: tuple[str, ...]
    percent: int
    frame: int
    frame_percent: int
    starts: int
    errors: int
    started: int
    changed: int
    """When it changed last; of one that is over, when it ended."""
    render: str
    activity: str

    @property
    def key(self) -> str:
        return f"{self.job}.{self.block}.{self.task}"

    @property
    def running(self) -> bool:
        # WRC: its render is away, and the server waits for it; the task may well run on there.
        return "RUN" in self.states or "WRC" in self.states

    def is_in_run(self, number: int) -> bool:
        """Whether that start of it, counted from 1, still runs."""
        return self.running and self.starts == number

    @property
    def over(self) -> bool:
        """Whether nothing more happens to it without a user."""
        return not self.running and ("DON" in self.states or "ERR" in self.states)

    def to_json(self) -> dict[str, object]:
        """The fields, for scripts and for the page."""
        return {**attrs.asdict(self), "states": list(self.states)}


def read_tasks(job: JobNode, progress: Sequence[object]) -> list[TaskNode]:
    """Read the progress of all tasks of a job, a list for each block."""
    found = []
    for block, items in zip(job.blocks, progress, strict=False):
        waits = "WDP" in block.states
        for number, item in enumerate(items if isinstance(items, list) else ()):
            if not isinstance(item, dict):
                continue
            states = _words(integer_of(item, "st"), _TASK_WORDS)
            # A server lists the tasks of a block that waits as ready.
            if waits and "RDY" in states:
                states = tuple("WDP" if word == "RDY" else word for word in states)
            found.append(
                TaskNode(
                    job=job.id,
                    block=block.number,
                    task=number,
                    name=block.task_name(number),
                    block_name=block.name,
                    states=states,
                    # A done task of a server may have stopped at any percent.
                    percent=100 if "DON" in states else integer_of(item, "per"),
                    frame=integer_of(item, "frm"),
                    frame_percent=integer_of(item, "pfr"),
                    starts=integer_of(item, "str"),
                    errors=integer_of(item, "err"),
                    started=integer_of(item, "tst"),
                    changed=integer_of(item, "tdn"),
                    render=text_of(item, "hst"),
                    activity=text_of(item, "act"),
                )
            )
    return found


@attrs.frozen(slots=True, kw_only=True)
class UserNode:
    """One user."""

    id: int
    name: str
    priority: int
    fields: Fields = attrs.field(repr=False)


def read_user(fields: Fields) -> UserNode:
    """Read a user of a list of users."""
    return UserNode(
        id=integer_of(fields, "id"),
        name=text_of(fields, "name"),
        priority=integer_of(fields, "priority"),
        fields=fields,
    )


@attrs.frozen(slots=True, kw_only=True)
class PoolNode:
    """One pool of renders."""

    id: int
    name: str
    parent: str
    states: tuple[str, ...]
    fields: Fields = attrs.field(repr=False)

    def chain(self, pools: Mapping[str, PoolNode]) -> Iterable[PoolNode]:
        """Yield this pool and those above it. A circle, which no server makes, ends it."""
        pool: PoolNode | None = self
        seen: set[str] = set()
        while pool is not None and pool.name not in seen:
            seen.add(pool.name)
            yield pool
            pool = pools.get(pool.parent)

    def limit(self, key: str, pools: Mapping[str, PoolNode], default: int) -> int:
        """A limit of renders: this pool's, else that of the next one above that has it."""
        # -1 is how a pool has no limit of its own.
        values = (integer_of(pool.fields, key, -1) for pool in self.chain(pools))
        return next((value for value in values if value >= 0), default)


def read_pool(fields: Fields) -> PoolNode:
    """Read a pool of a list of pools."""
    return PoolNode(
        id=integer_of(fields, "id"),
        name=text_of(fields, "name"),
        parent=text_of(fields, "parent"),
        states=_words(integer_of(fields, "st"), _POOL_WORDS),
        fields=fields,
    )

"""What has changed in the farm since the watchers last took it: ids, no contents.

Monitors of Afanasy's JSON interface poll: they get the ids of what has changed and then fetch the
objects. So a change that is noted twice before a poll counts once, and what waits for a watcher is
never larger than the farm itself.
"""

from __future__ import annotations

from typing import Literal

import attrs

from trio_afrender.protocol.messages import TaskKey

__all__ = ("BlockMode", "ChangeBatch", "ChangeKind", "Changes", "NodeChanges")

ChangeKind = Literal["add", "change", "del"]
BlockMode = Literal["progress", "full"]
"""Which part of a block has changed; the second one contains the first."""


@attrs.define(slots=True, eq=False)
class NodeChanges:
    """Ids of nodes of one type, each once, in the order of the first change."""

    added: dict[int, None] = attrs.field(factory=dict)
    changed: dict[int, None] = attrs.field(factory=dict)
    deleted: dict[int, None] = attrs.field(factory=dict)

    def note(self, node: int, kind: ChangeKind) -> None:
        """Note a change. A node that is deleted has neither been added nor changed."""
        if kind == "change":
            self.changed[node] = None
        elif kind == "add":
            self.added[node] = None
        else:
            self.added.pop(node, None)
            self.changed.pop(node, None)
            self.deleted[node] = None


@attrs.define(slots=True, eq=False)
class ChangeBatch:
    """The changes between two calls of `Changes.take`."""

    jobs: NodeChanges = attrs.field(factory=NodeChanges)
    renders: NodeChanges = attrs.field(factory=NodeChanges)
    users: NodeChanges = attrs.field(factory=NodeChanges)
    pool: bool = False
    """Whether parameters of the pool have changed."""
    job_owners: dict[int, str] = attrs.field(factory=dict)
    """User names of deleted jobs: who watched them cannot be found in the farm any more."""
    tasks: dict[TaskKey, None] = attrs.field(factory=dict)
    blocks: dict[tuple[int, int], BlockMode] = attrs.field(factory=dict)
    """(job, block) -> the largest part that has changed."""
    orders: dict[int, None] = attrs.field(factory=dict)
    """Ids of users whose jobs have another order."""


class Changes:
    """Collects changes while there is a watcher; without a watcher, a note costs one comparison."""

    __slots__ = ("_batch",)

    def __init__(self) -> None:
        self._batch: ChangeBatch | None = None

    def watch(self, *, on: bool) -> None:
        """Begin or end collecting. What was collected before is dropped."""
        self._batch = ChangeBatch() if on else None

    def take(self) -> ChangeBatch:
        """Return what has been collected since the last call; empty without a watcher."""
        taken = self._batch
        if taken is None:
            return ChangeBatch()
        self._batch = ChangeBatch()
        return taken

    def note_job(self, job: int, kind: ChangeKind, user_name: str = "") -> None:
        """Note a change of a job as a whole; for "del", `user_name` is its owner."""
        batch = self._batch
        if batch is not None:
            batch.jobs.note(job, kind)
            if kind == "del":
                batch.job_owners[job] = user_name
                # The id may be used again.
                batch.tasks = {key: None for key in batch.tasks if key.job != job}
                batch.blocks = {key: mode for key, mode in batch.blocks.items() if key[0] != job}

    def note_render(self, render: int, kind: ChangeKind) -> None:
        """Note a change of a render: its state, its tasks, its parameters; not its load."""
        if self._batch is not None:
            self._batch.renders.note(render, kind)

    def note_user(self, user: int, kind: ChangeKind) -> None:
        """Note a change of a user: parameters, numbers of jobs."""
        if self._batch is not None:
            self._batch.users.note(user, kind)

    def note_pool(self) -> None:
        """Note a change of the pool's parameters."""
        if self._batch is not None:
            self._batch.pool = True

    def note_jobs_order(self, user: int) -> None:
        """Note that the jobs of a user have another order."""
        if self._batch is not None:
            self._batch.orders[user] = None

    def note_task(self, key: TaskKey) -> None:
        """Note a change of a task; its block's progress and its job have changed with it."""
        batch = self._batch
        if batch is not None:
            batch.tasks[key] = None
            batch.blocks.setdefault((key.job, key.block), "progress")
            batch.jobs.changed[key.job] = None

    def note_block(self, job: int, block: int, mode: BlockMode) -> None:
        """Note a change of a block; its job has changed with it."""
        if self._batch is not None:
            old = self._batch.blocks.get((job, block), mode)
            self._batch.blocks[job, block] = old if old == "full" else mode
            self._batch.jobs.note(job, "change")

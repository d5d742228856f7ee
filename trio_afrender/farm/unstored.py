"""What has changed since the database was last written: records, each once. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from trio_afrender.farm.model import Block, Job, RenderState, Task, User

__all__ = ("ChangedRecords", "Unstored")


@attrs.define(slots=True, eq=False)
class ChangedRecords:
    """Records to write, and ids of records to delete. The values say whether a specification, which
    is large and rarely changes, is written too."""

    jobs: dict[Job, bool] = attrs.field(factory=dict)
    blocks: dict[Block, bool] = attrs.field(factory=dict)
    tasks: dict[Task, None] = attrs.field(factory=dict)
    users: dict[User, None] = attrs.field(factory=dict)
    renders: dict[RenderState, None] = attrs.field(factory=dict)
    pool: bool = False
    deleted_jobs: set[int] = attrs.field(factory=set)
    deleted_users: set[int] = attrs.field(factory=set)
    deleted_renders: set[int] = attrs.field(factory=set)

    def __bool__(self) -> bool:
        return bool(
            self.jobs or self.blocks or self.tasks or self.users or self.renders or self.pool
            or self.deleted_jobs or self.deleted_users or self.deleted_renders
        )  # fmt: skip


class Unstored:
    """Collects what changes. A farm in memory collects nothing."""

    __slots__ = ("_changed",)

    def __init__(self) -> None:
        self._changed: ChangedRecords | None = None

    def collect(self) -> None:
        """Collect from now on."""
        self._changed = ChangedRecords()

    def __bool__(self) -> bool:
        return bool(self._changed)

    def take(self) -> ChangedRecords:
        """Return what has been collected since the last call."""
        taken = self._changed
        if taken is None:
            return ChangedRecords()
        self._changed = ChangedRecords()
        return taken

    def put_back(self, changed: ChangedRecords) -> None:
        """Note what could not be written once more, but for what has been deleted since."""
        new = self._changed
        if new is None:
            return
        for job, spec in changed.jobs.items():
            self.note_job(job, spec=spec)
        for block, spec in changed.blocks.items():
            self.note_block(block, spec=spec)
        for task in changed.tasks:
            self.note_task(task)
        for user in changed.users:
            if user.id not in new.deleted_users:
                self.note_user(user)
        for render in changed.renders:
            if render.id not in new.deleted_renders:
                self.note_render(render)
        new.pool = new.pool or changed.pool
        new.deleted_jobs |= changed.deleted_jobs
        new.deleted_users |= changed.deleted_users
        new.deleted_renders |= changed.deleted_renders

    def note_task(self, task: Task) -> None:
        """Note a change of a task."""
        if self._changed is not None and not task.block.job.gone:
            self._changed.tasks[task] = None

    def note_block(self, block: Block, *, spec: bool = False) -> None:
        """Note a change of a block, of its specification too with `spec`."""
        if self._changed is not None and not block.job.gone:
            self._changed.blocks[block] = spec or self._changed.blocks.get(block, False)

    def note_job(self, job: Job, *, spec: bool = False) -> None:
        """Note a change of a job as a whole, of its specification too with `spec`."""
        if self._changed is not None and not job.gone:
            self._changed.jobs[job] = spec or self._changed.jobs.get(job, False)

    def note_user(self, user: User) -> None:
        """Note a change of a user."""
        if self._changed is not None:
            self._changed.users[user] = None

    def note_render(self, render: RenderState) -> None:
        """Note a change of a render."""
        if self._changed is not None:
            self._changed.renders[render] = None

    def note_pool(self) -> None:
        """Note a change of the pool."""
        if self._changed is not None:
            self._changed.pool = True

    def drop_job(self, job: Job) -> None:
        """Note that a job is gone, with its blocks and tasks."""
        changed = self._changed
        if changed is not None:
            changed.jobs.pop(job, None)
            for block in job.blocks:
                changed.blocks.pop(block, None)
                for task in block.tasks:
                    changed.tasks.pop(task, None)
            changed.deleted_jobs.add(job.id)

    def drop_user(self, user: User) -> None:
        """Note that a user is gone."""
        if self._changed is not None:
            self._changed.users.pop(user, None)
            self._changed.deleted_users.add(user.id)

    def drop_render(self, render: RenderState) -> None:
        """Note that a render is gone."""
        if self._changed is not None:
            self._changed.renders.pop(render, None)
            self._changed.deleted_renders.add(render.id)

"""The rows of a farm's database in dictionaries, and what must be the same after a restart."""

from __future__ import annotations

from pathlib import Path

from trio_afrender.farm.database import RecordRows, StoredRecords
from trio_afrender.farm.model import TaskState
from trio_afrender.farm.state import FarmState

__all__ = ("MemoryRecords", "find_differences", "show_records")


class MemoryRecords:
    """Does with rows what `Database` does with them."""

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}
        self.pool: str | None = None
        self.users: dict[int, str] = {}
        self.renders: dict[int, str] = {}
        self.jobs: dict[int, tuple[str, str]] = {}
        self.blocks: dict[tuple[int, int], tuple[str, str]] = {}
        self.tasks: dict[tuple[int, int, int], str] = {}

    def write(self, rows: RecordRows) -> None:
        self.counters.update(rows.counters)
        self.pool = rows.pool or self.pool
        self.users.update(rows.users)
        self.renders.update(rows.renders)
        for job, spec, data in rows.jobs:
            self.jobs[job] = (spec() if spec else self.jobs[job][0], data)
        for job, block, spec, data in rows.blocks:
            self.blocks[job, block] = (spec() if spec else self.blocks[job, block][0], data)
        for job, block, task, data in rows.tasks:
            self.tasks[job, block, task] = data
        gone = set(rows.deleted_jobs)
        self.jobs = {key: each for key, each in self.jobs.items() if key not in gone}
        self.blocks = {key: each for key, each in self.blocks.items() if key[0] not in gone}
        self.tasks = {key: task for key, task in self.tasks.items() if key[0] not in gone}
        for user in rows.deleted_users:
            self.users.pop(user, None)
        for render in rows.deleted_renders:
            self.renders.pop(render, None)

    def read(self) -> StoredRecords:
        return StoredRecords(
            path=Path("/memory"),
            counters=dict(self.counters),
            pool=self.pool,
            users=[self.users[key] for key in sorted(self.users)],
            renders=[self.renders[key] for key in sorted(self.renders)],
            jobs=[(key, *self.jobs[key]) for key in sorted(self.jobs)],
            blocks=[(*key, *self.blocks[key]) for key in sorted(self.blocks)],
            tasks=[(*key, self.tasks[key]) for key in sorted(self.tasks)],
            removed=[],
        )


def show_records(state: FarmState) -> dict[str, object]:
    """Everything of a farm that a restart must not change. Times are rounded to milliseconds."""
    since = state.wall()
    jobs = {
        job.id: {
            "spec": job.spec,
            "user": job.user.name,
            "state": job.state,
            "started": job.started,
            "finished": job.finished,
            "created": job.created,
            "paused": job.paused,
            "deleting": job.deleting,
            "ending": job.ending,
            "held": job.held,
            "before": sorted(other.id for other in job.before if other.state != "done"),
            "try_next": [task.key for task in job.try_next],
            "log": job.node_log.entries,
            "counts": {key: count for key, count in job.counts.items() if count},
            "running_on": +job.running_on,
            "waits": [block.waits for block in job.blocks],
            "error_hosts": [
                {name: count for name, (count, _) in block.error_hosts.items()}
                for block in job.blocks
            ],
            "tasks": [
                (
                    task.key, task.state, task.errors, task.attempts, task.marks, task.status,
                    task.exit_code, task.started, task.finished, task.percent, task.activity,
                    task.usage, tuple(task.files), tuple(task.why), task.run and task.run.id,
                    {name: count for name, (count, _) in (task.error_hosts or {}).items()},
                    task.run and (task.run.stop, task.run.suspended, task.run.capacity),
                    task.last_run and (task.last_run.id, task.last_run.attempt),
                )
                for block in job.blocks
                for task in block.tasks
            ],
        }
        for job in state.jobs.values()
    }  # fmt: skip
    users = {
        user.name: (
            user.id, user.priority, user.needs, user.paused, user.errors_retries, user.running,
            +user.running_on, sorted(user.jobs), user.node_log.entries, user.jobs_life_time,
        )
        for user in state.users.values()
    }  # fmt: skip
    renders = {
        render.name: (
            render.id, render.overrides, sorted(render.running), render.capacity_used,
            render.states.nimby, render.states.pause, render.node_log.entries,
        )
        for render in state.renders.values()
    }  # fmt: skip
    running = sum(job.counts[TaskState.RUNNING] for job in state.jobs.values())
    return {
        "jobs": jobs,
        "users": users,
        "renders": renders,
        "order": [job.id for job in state.order],
        "ready": state.ready,
        "running": running,
        "next": (state.next_job, state.next_user, state.next_render),
        "pool": (state.pool, state.pool_log.entries),
        "limited": sorted(state.limited),
        "now": since > 0,
    }


def find_differences(one: object, other: object, path: str = "") -> list[str]:
    """Where two answers of `show_records` differ."""
    if one == other:
        return []
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        pairs = [(f"{path}.{key}", one[key], other[key]) for key in one]
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple):
        pairs = [(f"{path}[{i}]", a, b) for i, (a, b) in enumerate(zip(one, other, strict=False))]
        if len(one) != len(other):
            return [f"{path}: {one!r} is not {other!r}"]
    else:
        return [f"{path}: {one!r} is not {other!r}"]
    return [text for where, a, b in pairs for text in find_differences(a, b, where)]

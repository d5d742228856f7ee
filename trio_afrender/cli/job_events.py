"""What changed between two looks at a job, as events for whoever shows them. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from trio_afrender.jobs.views import FINAL_STATES, JobView, TaskView

__all__ = ("JobEvent", "compare")


@attrs.frozen(slots=True)
class JobEvent:
    """`kind`: ``started``, ``over``, ``retried`` (an attempt failed, another will follow)."""

    kind: str
    task: TaskView


def compare(before: JobView | None, after: JobView) -> Iterator[JobEvent]:
    """Yield what happened to each task. Looks may be far apart: states in between are lost, but
    no end of a task and no failed attempt."""
    olds = before.tasks if before is not None else (None,) * len(after.tasks)
    for old, new in zip(olds, after.tasks, strict=True):
        if old is new:
            continue
        if new.state in FINAL_STATES:
            if old is None or old.state not in FINAL_STATES:
                yield JobEvent("over", new)
            continue
        if _ended(new) > _ended(old):
            yield JobEvent("retried", new)
        if new.state == "running" and (old is None or old.run != new.run):
            yield JobEvent("started", new)


def _ended(task: TaskView | None) -> int:
    """How many attempts have come to an end."""
    return task.attempts - (task.state == "running") if task is not None else 0

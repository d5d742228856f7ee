"""Compares two views of a job and yields the changes of its tasks as events. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from trio_afrender.jobs.views import FINAL_STATES, JobView, TaskView

__all__ = ("JobEvent", "compare")


@attrs.frozen(slots=True)
class JobEvent:
    """A change of a task: ``started``, ``ended``, ``retried`` (an attempt failed, another follows)."""

    kind: str
    task: TaskView


def compare(before: JobView | None, after: JobView) -> Iterator[JobEvent]:
    """Yield the events of each task between two views.

    However far apart the views are, every end of a task and every failed attempt is an event; only
    starts can be missing.
    """
    olds = before.tasks if before is not None else (None,) * len(after.tasks)
    for old, new in zip(olds, after.tasks, strict=True):
        if old is new:
            continue
        if new.state in FINAL_STATES:
            if old is None or old.state not in FINAL_STATES:
                yield JobEvent("ended", new)
            continue
        if _count_ended(new) > _count_ended(old):
            yield JobEvent("retried", new)
        if new.state == "running" and (old is None or old.run != new.run):
            yield JobEvent("started", new)


def _count_ended(task: TaskView | None) -> int:
    """Return how many attempts of a task have ended."""
    return task.attempts - (task.state == "running") if task is not None else 0

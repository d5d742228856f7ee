"""Snapshots of jobs, tasks and renders for users and programs. Frozen, kept until a change."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import attrs

from trio_afrender.protocol.messages import HostResources, Reason, TaskKey, TaskUsage

__all__ = ("FINAL_STATES", "JobView", "RenderView", "TaskView", "Texts")

FINAL_STATES = ("done", "skipped", "error", "killed")
"""States of a task that has ended for good."""


_CAUSES = ("cause", "refused", "bug")
"""Events of reasons that say why a run failed; the first one counts."""


class Texts(Protocol):
    """The stored texts and files of a farm. Reading may block on a disk."""

    def log(self, key: TaskKey) -> str: ...

    def output(self, key: TaskKey, attempt: int) -> str: ...

    def path(self, key: TaskKey, name: str) -> Path:
        """The path of a stored file of a task. Does not access the disk."""
        ...


@attrs.frozen(slots=True, kw_only=True)
class TaskView:
    """One task. Times are Unix time. Values of a run are those of the latest one."""

    job: int
    block: int
    task: int
    number: int = 0
    run: str = ""
    """The id of the latest run; empty if there was none."""
    name: str
    block_name: str
    service: str
    render: str = ""
    state: str
    """``waiting`` (for others), ``ready``, ``running``, ``done``, ``error``, ``skipped``, ``killed``."""
    status: int | None = None
    exit_code: int | None = None
    """Negative: the signal that ended the process. None: no process, or it has not ended."""
    started: float | None = None
    finished: float | None = None
    attempts: int = 0
    percent: int = 0
    frame: int = 0
    """How many frames the parser has seen finished."""
    frames: tuple[int, int, int] | None = None
    """First frame, last frame and step; None: the block lists its tasks."""
    percentframe: int = 0
    activity: str = ""
    report: str = ""
    resources: str = ""
    usage: TaskUsage | None = None
    """The usage of the run's process tree, as last reported."""
    files: tuple[Path, ...] = ()
    why: tuple[Reason, ...] = ()
    _attempt: int = attrs.field(repr=False)
    _texts: Texts = attrs.field(repr=False, eq=False)

    @property
    def outcome(self) -> str:
        """`state` for people: a task that ended before its first run is ``not run``."""
        return "not run" if self.state == "killed" and not self.attempts else self.state

    @property
    def current_frame(self) -> int:
        """The number of the frame that is rendered now, or was last; in a list, of finished frames."""
        if self.frames is None:
            return self.frame
        first, last, step = self.frames
        return last if self.state == "done" else min(first + max(0, self.frame) * step, last)

    @property
    def key(self) -> TaskKey:
        return TaskKey(self.job, self.block, self.task, self.number)

    @property
    def attempt_why(self) -> tuple[Reason, ...]:
        """The reasons of the latest attempt that has ended."""
        steps = list(self.why)
        while steps and steps[-1].event == "retry":
            steps.pop()
        start = max((i + 1 for i, step in enumerate(steps) if step.event == "retry"), default=0)
        return tuple(steps[start:])

    @property
    def cause(self) -> str:
        """Why the latest attempt that has ended failed, in a sentence; empty if that is unknown."""
        return next((step.text for step in self.attempt_why if step.event in _CAUSES), "")

    @property
    def memory_peak(self) -> int:
        """The most resident memory of the latest run, in bytes; 0: unknown."""
        return self.usage.resident_peak if self.usage is not None else 0

    def seconds(self, now: float | None = None) -> float:
        """How long the latest run took, or takes so far; 0: unknown. Without `now` only ended ones count."""
        end = now if self.state == "running" else self.finished
        return max(0.0, end - self.started) if self.started is not None and end is not None else 0.0

    @property
    def log(self) -> str:
        """The task's log, of all attempts. Each access reads it from the store."""
        return self._texts.log(self.key)

    @property
    def output(self) -> str:
        """The stored output of the latest attempt, '' until that has ended. Each access reads it."""
        return self._texts.output(self.key, self._attempt)


@attrs.frozen(slots=True, kw_only=True)
class JobView:
    """One job. `started` is when its first task was assigned."""

    id: int
    name: str
    user_name: str
    state: str
    """``running``, ``done``, ``error`` (a task failed) or ``stopped``."""
    started: float | None = None
    finished: float | None = None
    counts: Mapping[str, int]
    """The number of tasks in each state; states without a task are left out."""
    tasks: tuple[TaskView, ...]


@attrs.frozen(slots=True, kw_only=True)
class RenderView:
    """One render."""

    id: int
    name: str
    state: str
    """``online``, ``reconnecting`` (its link is lost, its tasks wait for it) or ``offline``."""
    nimby: str = ""
    """Empty, ``nimby`` (only the owner's jobs) or ``NIMBY`` (no jobs)."""
    host_name: str = ""
    user_name: str = ""
    engine: str = ""
    os: str = ""
    peer: str = ""
    capacity: int
    capacity_used: int
    max_tasks: int
    services: tuple[str, ...] = ()
    running: tuple[TaskKey, ...] = ()
    resources: HostResources | None = None

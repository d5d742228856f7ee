"""When a job ends, from what its tasks have taken so far; frames a minute, the slowest task. Pure.

A renderer's percentage does not grow evenly: loading takes minutes at 0 %, denoising at 99 %. So the
curve of each task that ends is kept for its block: which share of the time had passed at which
percentage. The time of a running task follows from the curves of its block, else from its percentage
alone; that of a task that has not started from the mean of its block, else of the job.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

import attrs

from trio_afrender.cli.summary import label, seconds_text
from trio_afrender.cli.terminal import shorten_line
from trio_afrender.jobs.frame_rate import FrameRate
from trio_afrender.jobs.job_spec import JobSpec
from trio_afrender.jobs.views import FINAL_STATES, JobView, TaskView
from trio_afrender.protocol.messages import TaskKey

__all__ = ("JobForecast", "Outlook")

_STEPS = 20
"""Points of a curve, one for each 5 %."""
_LEAST_PERCENT = 3
"""Below, a percentage says nothing of the time."""
_LEAST_SECONDS = 2.0
"""A task that has run for less says nothing of its time."""
_MAX_LABEL = 40


@attrs.frozen(slots=True, kw_only=True)
class Outlook:
    """What is expected of a job. None: too little has happened."""

    seconds_left: float | None = None
    frames_per_minute: float | None = None
    slowest: str = ""
    """The label of the task that has taken longest."""
    slowest_seconds: float = 0.0

    def text(self, now: float) -> str:
        """One line for people; '' if nothing is known. `now` is Unix time."""
        parts = []
        if self.seconds_left is not None:
            end = time.localtime(now + self.seconds_left)
            form = "%H:%M" if self.seconds_left < 86_400 else "%d %b %H:%M"
            clock = time.strftime(form, end)
            parts.append(f"ends about {clock}, in {seconds_text(self.seconds_left)}")
        if self.frames_per_minute is not None:
            parts.append(f"{self.frames_per_minute:.3g} frames a minute")
        if self.slowest:
            parts.append(f"slowest: {self.slowest} {seconds_text(self.slowest_seconds)}")
        return "; ".join(parts)


@attrs.define(slots=True)
class _Curve:
    """The mean curve of the ended tasks of a block, and their mean time."""

    count: int = 0
    seconds: float = 0.0
    shares: list[float] = attrs.field(factory=lambda: [0.0] * (_STEPS + 1))
    """At each step the share of its time that a task has needed, summed over `curves` tasks."""
    curves: int = 0

    @property
    def mean(self) -> float:
        return self.seconds / self.count

    def add(self, seconds: float, samples: Mapping[int, float]) -> None:
        """Take a task that has ended. `samples`: percentage -> when it was first seen, in seconds."""
        self.count += 1
        self.seconds += seconds
        if len(samples) < 3 or seconds < _LEAST_SECONDS:
            return
        points = sorted({**samples, 0: 0.0, 100: seconds}.items())
        for step in range(_STEPS + 1):
            self.shares[step] += _interpolate(points, step * 100 / _STEPS) / seconds
        self.curves += 1

    def share_at(self, percent: float) -> float:
        """The share of its time that a task has needed at a percentage."""
        if not self.curves:
            return percent / 100
        points = [(i * 100 / _STEPS, total / self.curves) for i, total in enumerate(self.shares)]
        return _interpolate(points, percent)


def _interpolate(points: Iterable[tuple[float, float]], at: float) -> float:
    """The value at a place of a line through points, which are in order."""
    before = (0.0, 0.0)
    for x, y in points:
        if x >= at:
            wide = x - before[0]
            return y if wide <= 0 else before[1] + (y - before[1]) * (at - before[0]) / wide
        before = (x, y)
    return before[1]


@attrs.define(slots=True)
class JobForecast:
    """Takes views of one job in turn and tells what they promise."""

    spec: JobSpec
    _curves: dict[int, _Curve] = attrs.field(factory=dict)
    """By block."""
    _samples: dict[TaskKey, dict[int, float]] = attrs.field(factory=dict)
    """Of running tasks."""
    _counted: dict[TaskKey, str] = attrs.field(factory=dict)
    """Ended tasks in the curves, with the run."""
    _rate: FrameRate = attrs.field(factory=lambda: FrameRate(_LEAST_SECONDS))
    _most: int = 1
    """The most tasks that ran at once."""

    def update(self, job: JobView, now: float) -> Outlook:
        """Take a view; `now` is Unix time."""
        running = [task for task in job.tasks if task.state == "running"]
        self._most = max(self._most, len(running))
        for task in running:
            samples = self._samples.setdefault(task.key, {})
            if samples and task.percent < max(samples):
                samples.clear()  # another attempt
            samples.setdefault(min(100, max(0, task.percent)), task.seconds(now))
        slowest, longest, frames = None, 0.0, 0
        for task in job.tasks:
            seconds = task.seconds(now)
            if task.state == "running":
                frames += max(0, task.frame)
            elif task.state == "done" and task.block < len(self.spec.blocks):
                frames += max(1, self.spec.blocks[task.block].frames(task.task)[2])
            if task.state == "done" and self._counted.get(task.key) != task.run:
                self._counted[task.key] = task.run
                curve = self._curves.setdefault(task.block, _Curve())
                curve.add(seconds, self._samples.pop(task.key, {}))
            if seconds > longest:
                slowest, longest = task, seconds
        return Outlook(
            seconds_left=self._seconds_left(job, running, now),
            frames_per_minute=self._rate.update(frames, now),
            slowest=shorten_line(label(slowest), _MAX_LABEL) if slowest else "",
            slowest_seconds=longest,
        )

    def _seconds_left(self, job: JobView, running: list[TaskView], now: float) -> float | None:
        left: list[float | None] = []
        for task in running:
            seconds, curve = task.seconds(now), self._curves.get(task.block)
            if task.percent >= _LEAST_PERCENT and seconds >= _LEAST_SECONDS:
                share = (curve or _Curve()).share_at(min(task.percent, 100))
                left.append(max(0.0, seconds / max(share, 0.01) - seconds))
            else:
                left.append(max(0.0, curve.mean - seconds) if curve else None)
        known = [each for each in left if each is not None]
        waiting = [t for t in job.tasks if t.state not in (*FINAL_STATES, "running")]
        if job.state != "running" or not (running or waiting):
            return None
        totals = [
            total
            for task, each in zip(running, left, strict=True)
            if each is not None and (total := each + task.seconds(now)) > 0
        ]
        # The mean time of the tasks of the job: of ended ones, else as running ones promise.
        if ended := sum(curve.count for curve in self._curves.values()):
            mean = sum(curve.seconds for curve in self._curves.values()) / ended
        elif totals:
            mean = sum(totals) / len(totals)
        else:
            return None
        # What nothing is known of takes as long as the others.
        work = sum(known) + mean * (len(left) - len(known)) / 2
        work += sum(
            self._curves[t.block].mean if t.block in self._curves else mean for t in waiting
        )
        return max([work / self._most, *known])

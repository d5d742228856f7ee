"""When jobs end and how many frames a minute are done, from the counts of their blocks. Pure.

A list of jobs has counts and times alone. The forecast of one job that is followed (`cli.job_forecast`)
learns from the curve of each task, which these do not have.
"""

from __future__ import annotations

import attrs

from trio_afrender.afserver.remote_nodes import JobNode
from trio_afrender.jobs.frame_rate import FrameRate

__all__ = ("JobPace",)

_LEAST = 15.0
"""Seconds before there is a figure."""
_LEAST_PERCENT = 3
_SLACK = 0.08
"""An end that moves by less than this share of the time that is left is not worth a change."""


@attrs.define(slots=True, eq=False)
class JobPace:
    """What was done of one job in the last minutes. Times are Unix time."""

    frames_per_minute: float | None = None
    ends: int | None = None
    _rate: FrameRate = attrs.field(factory=lambda: FrameRate(_LEAST))
    _progress: tuple[tuple[int, ...], ...] | None = None
    """What the last forecast of the end was made from."""

    def add(self, job: JobNode, now: float) -> None:
        """Take the job as it is now."""
        frames = sum(
            max(0, b.done - b.skipped) * max(1, b.spec.frames_per_task if b.spec.numeric else 1)
            for b in job.blocks
        )
        rate = self._rate.update(frames, now)
        if "DON" in job.states or not job.count("running"):
            self.frames_per_minute = self.ends = self._progress = None
            return
        self.frames_per_minute = None if rate is None else float(f"{rate:.2g}")
        progress = tuple((b.done, b.running, b.error, b.percent) for b in job.blocks)
        if progress == self._progress:
            # Nothing is known that would move the end; after it, a task takes longer than others.
            if self.ends is not None and now > self.ends:
                self.ends = None
            return
        self._progress = progress
        left = _seconds_left(job, now)
        if left is None:
            self.ends = None
        elif self.ends is None or abs(now + left - self.ends) > max(5.0, left * _SLACK):
            self.ends = int(now + left)


def _seconds_left(job: JobNode, now: float) -> float | None:
    """Seconds until a running job has ended; None if that is unknown."""
    done = job.count("done") - job.count("skipped")
    running = max(1, job.count("running"))
    if done > 0 and (spent := job.count("seconds")) > 0:
        mean_of_job = spent / done
        work = 0.0
        for block in job.blocks:
            own = block.done - block.skipped
            mean = block.seconds / own if own > 0 and block.seconds else mean_of_job
            open_tasks = max(0, block.tasks - block.done - block.error)
            # The percentage of a block counts what its running tasks have done.
            begun = max(0.0, block.percent * block.tasks / 100 - block.done)
            work += mean * max(0.0, open_tasks - min(begun, block.running))
        return work / running
    percent = job.percent
    if percent >= _LEAST_PERCENT and job.started:
        return max(0.0, now - job.started) * (100 - percent) / percent
    return None

"""Whether a running task has used up what its host allows. Pure: a table and one function."""

from __future__ import annotations

import math

import attrs

from trio_afrender.config import Limits
from trio_afrender.task.usage_totals import show_bytes

__all__ = ("Usage", "next_look", "over_limit")


@attrs.frozen(slots=True, kw_only=True)
class Usage:
    """What a task's process has used; times in seconds ago."""

    running: float
    silent: float
    """Since the last byte of output, or the start."""
    stalled: float | None
    """Since percent or frame moved last, or the start; None: it has no parser."""
    printed: int
    """Bytes."""
    resident: int | None = None
    """Bytes of memory of the whole tree; None: not measured."""


def over_limit(limits: Limits, usage: Usage) -> str:
    """Return which limit was reached and the figure, '' for none."""
    if limits.run_time and usage.running >= limits.run_time:
        return f"it runs for {usage.running:.0f} s, the limit run_time is {limits.run_time:g} s"
    if limits.no_output and usage.silent >= limits.no_output:
        return f"no output for {usage.silent:.0f} s, the limit no_output is {limits.no_output:g} s"
    if limits.no_progress and usage.stalled is not None and usage.stalled >= limits.no_progress:
        return (
            f"no progress for {usage.stalled:.0f} s,"
            f" the limit no_progress is {limits.no_progress:g} s"
        )
    if limits.output and usage.printed >= limits.output:
        return f"it printed {usage.printed} bytes, the limit output is {limits.output}"
    if limits.memory and usage.resident is not None and usage.resident >= limits.memory:
        return (
            f"its processes have {show_bytes(usage.resident)} of memory,"
            f" the limit memory is {show_bytes(limits.memory)}"
        )
    return ""


def next_look(limits: Limits, usage: Usage) -> float:
    """In how many seconds a limit of time can be reached at the earliest; infinite for never."""
    left = [
        limit - used
        for limit, used in (
            (limits.run_time, usage.running),
            (limits.no_output, usage.silent),
            (limits.no_progress, usage.stalled),
        )
        if limit and used is not None
    ]
    return max(min(left, default=math.inf), 0.0)

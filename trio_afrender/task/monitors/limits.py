"""Limits of time, output and memory of a task's own process: the rules, and the monitor that stops
the run at the first limit it reaches.

The monitor does not poll. A limit of time can be reached at a known moment at the earliest; output
and memory have events. In between it sleeps.
"""

from __future__ import annotations

import math

import attrs
import trio

from trio_afrender.async_helpers import wait_any
from trio_afrender.config import Limits
from trio_afrender.process.interfaces import ProcessTree
from trio_afrender.task.run_state import RunState
from trio_afrender.task.status_rules import StopCause, StopKind
from trio_afrender.task.usage_totals import show_bytes
from trio_afrender.tasklog.interfaces import RunLog

__all__ = ("LimitMonitor", "Usage", "next_look", "over_limit")


@attrs.frozen(slots=True, kw_only=True)
class Usage:
    """What a task's process has used; durations in seconds."""

    running: float
    silent: float
    """Since the last byte of output, or the start."""
    stalled: float | None
    """Since the last change of percent or frame, or the start; None: it has no parser."""
    printed: int
    """Bytes."""
    resident: int | None = None
    """Bytes of memory of the whole tree; None: not measured."""


def over_limit(limits: Limits, usage: Usage) -> str:
    """Return which limit is reached, with the value; '' for none. A limit of 0 is none."""
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
    """Return in how many seconds a limit of time can be reached at the earliest; infinite: never."""
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


class LimitMonitor:
    """Stops a run at the first limit that it reaches."""

    def __init__(self, state: RunState, log: RunLog, limits: Limits) -> None:
        self._state = state
        self._log = log
        self._limits = limits

    async def run(self, process: ProcessTree) -> None:
        """Watch the limits until one is reached or until cancelled."""
        state, log, limits = self._state, self._log, self._limits
        suspension, start, before = state.control.suspension, trio.current_time(), log.size

        async def printed() -> None:
            # One byte below the limit: `wait_beyond` waits for more than it is given, and the limit
            # itself is too much already.
            await log.wait_beyond(before + limits.output - 1)
            if log.ended:
                # `wait_beyond` returns at once from now on: without this the caller would spin.
                await trio.sleep_forever()

        while True:
            # A suspended process reaches no limit, and the time of its suspension does not count
            # (test_limits_do_not_count_while_a_run_is_suspended).
            await suspension.over()
            now = trio.current_time()
            begun = max(start, suspension.ended)
            # The time under an earlier agent counts (test_the_time_under_an_earlier_agent_counts).
            # What was printed then does not: the log may begin with it.
            usage = Usage(
                running=state.running_seconds(),
                silent=now - max(begun, log.grew_at),
                stalled=now - max(begun, state.progressed_at) if state.has_parser else None,
                printed=log.size - before,
                resident=state.usage.resident if state.usage is not None else None,
            )
            if state.control.cause is not None:
                return  # what it does while it is being stopped decides nothing
            if text := over_limit(limits, usage):
                state.why.add("rule", f"{text}: the task is stopped")
                state.control.stop(StopCause(kind=StopKind.LIMIT, text=text))
                return
            # A value without a limit wakes nothing.
            with trio.move_on_after(next_look(limits, usage)):
                await wait_any(
                    printed if limits.output else trio.sleep_forever,
                    state.measurement if limits.memory else trio.sleep_forever,
                )

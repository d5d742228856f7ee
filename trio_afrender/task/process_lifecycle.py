"""One process tree from spawn to reap, with the order that loses neither processes nor output.

Why this order:

- The leader is watched without being reaped, so its pid and group stay ours to signal.
- End of output is not end of process, nor the other way round: both are waited for, each with
  a bound, because a grandchild may hold the pipe for ever.
- KILL goes to the tree after a clean exit too: a politely ended leader proves nothing about a
  child that it forked a moment before.
- All of it is shielded and bounded, so it also runs when the agent itself is being cancelled.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import attrs
import trio

from trio_afrender.config import Timing
from trio_afrender.process.interfaces import ExitStatus, ProcessTree, TreeSignal
from trio_afrender.task.reasons import ReasonLog
from trio_afrender.task.status_rules import StopCause, StopKind
from trio_afrender.task.task_control import TaskControl
from trio_afrender.tasklog.interfaces import RunLog

__all__ = ("ProcessEnd", "supervise")

logger = logging.getLogger(__name__)


@attrs.frozen(slots=True, kw_only=True)
class ProcessEnd:
    """How a process tree ended."""

    status: ExitStatus | None
    """None when the leader survived KILL (state D) and could not be reaped."""
    stopped: bool = False
    """The stop (or the limit) ended it: it had not ended by itself."""
    output_complete: bool = True
    leftovers: tuple[int, ...] = ()


async def supervise(
    child: ProcessTree,
    log: RunLog,
    handle: TaskControl,
    why: ReasonLog,
    *,
    timing: Timing,
    grace: float,
    limit: float,
    before_term: Callable[[], Awaitable[None]],
    at_exit: Callable[[], None] = lambda: None,
) -> ProcessEnd:
    """Wait for the end of `child`, or end it when `handle` is stopped or `limit` seconds passed.

    Its output goes to `log` meanwhile. Returns when the tree is empty (or its leftovers are
    known). Cancelled from outside, it still terminates, kills and reaps before it lets go;
    with leftovers the caller owns the unreaped child; unless the run is leaving and something else holds
    its tree. `at_exit` is called when the leader has ended
    by itself and is not collected yet.
    """
    ended = trio.Event()
    reading = trio.CancelScope(shield=True)

    async def read() -> None:
        with reading:
            try:
                await child.output.pump(log)
            except OSError as error:
                why.add("output", f"the output pipe failed: {error}")
            ended.set()

    end = ProcessEnd(status=None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        gone = False
        try:
            with handle.stoppable(limit):
                await child.exited()
                gone = True
        finally:
            with trio.CancelScope(shield=True):
                if gone or not (handle.leaving and await child.detach()):
                    if gone:
                        at_exit()
                        await _drain(child, ended, why, timing.drain)
                    else:
                        await _prepare(before_term, why)
                        await _terminate(child, ended, handle, why, grace)
                    leftovers = await _sweep(
                        child, why, handle.stop_budget(timing.sweep), quiet=gone
                    )
                    await _drain_rest(ended, log, timing)
                    status = await _reap(child, leftovers, why)
                    end = ProcessEnd(
                        status=status,
                        stopped=not gone or _is_interrupted(child, handle, why),
                        output_complete=ended.is_set(),
                        leftovers=leftovers,
                    )
                reading.cancel()
                await child.output.aclose()
    if not end.output_complete:
        why.add("output", "the pipe was still held after the sweep: the output may lack its end")
    return end


def _is_interrupted(child: ProcessTree, handle: TaskControl, why: ReasonLog) -> bool:
    """Whether somebody else ended the tree: then the task is given back, it did not fail."""
    if not child.external_stop_reason:
        return False
    why.add("supervisor", child.external_stop_reason)
    if handle.cause is None:
        handle.cause = StopCause(kind=StopKind.AGENT_EXIT, text=child.external_stop_reason)
    return True


async def _prepare(before_term: Callable[[], Awaitable[None]], why: ReasonLog) -> None:
    """Whatever it raises, the tree is terminated afterwards."""
    try:
        await before_term()
    except Exception as error:
        logger.exception("internal error before TERM")
        why.add("bug", f"internal error of the agent: {error!r}")


async def _terminate(
    child: ProcessTree, ended: trio.Event, handle: TaskControl, why: ReasonLog, grace: float
) -> None:
    """TERM to the whole tree, then wait for all of it: a shell dies faster than its renderer."""
    pids = await child.signal_tree(TreeSignal.TERM)
    why.add("signal", f"TERM, up to {grace:g} s to end", pids)
    with handle.in_grace(grace) as waiting:
        await child.exited()
        await child.wait_empty()
        await ended.wait()
    if waiting.cancelled_caught:
        why.add("grace", "not all had ended when the grace was over")


async def _drain(child: ProcessTree, ended: trio.Event, why: ReasonLog, drain: float) -> None:
    if ended.is_set():
        return
    with trio.move_on_after(drain) as waiting:
        await ended.wait()
    if waiting.cancelled_caught:
        why.add("drain", f"pid {child.pid} ended, but others held its output for {drain:g} s")


async def _drain_rest(ended: trio.Event, log: RunLog, timing: Timing) -> None:
    """The tree is empty, so the pipe holds no more than it can: while it comes it is waited for."""
    if ended.is_set():
        return
    size = -1
    with trio.move_on_after(timing.sweep):
        while not ended.is_set() and log.size != size:
            size = log.size
            with trio.move_on_after(timing.drain):
                await ended.wait()


async def _sweep(
    child: ProcessTree, why: ReasonLog, deadline: float, *, quiet: bool
) -> tuple[int, ...]:
    """KILL what is left, and wait until nothing is; quiet about a tree that was empty."""
    pids = await child.signal_tree(TreeSignal.KILL)
    others = tuple(pid for pid in pids if pid != child.pid)
    if others:
        text = "KILL to what the task left behind" if quiet else "KILL to what was left"
        why.add("sweep", text, others)
    leftovers = await child.kill_until_empty(deadline)
    if leftovers:
        why.add("leftover", f"still there {deadline:g} s after KILL", leftovers)
    return leftovers


async def _reap(
    child: ProcessTree, leftovers: tuple[int, ...], why: ReasonLog
) -> ExitStatus | None:
    if child.pid in leftovers:
        return None
    status = await child.reap()
    why.add("exit", f"the process ended with {status}", (child.pid,))
    return status

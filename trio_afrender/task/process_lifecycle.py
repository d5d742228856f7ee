"""One process tree from spawn to reap, in the order that loses neither processes nor output.

Why this order:

- The leader is watched without being reaped. As long as it is a zombie, neither its pid nor its
  group id can be given to another process, so signals reach only the tree.
- End of output and end of process are waited for separately, each with a time limit: a grandchild
  can hold the pipe after the leader's exit, and a process can close its output long before its end.
- KILL goes to the tree after a clean exit too: that the leader ended by itself says nothing about a
  child it forked a moment before.
- All of it is shielded from cancellation and limited in time, so it also runs while the agent itself
  is being cancelled.
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

logger: logging.Logger = logging.getLogger(__name__)


@attrs.frozen(slots=True, kw_only=True)
class ProcessEnd:
    """How a process tree ended."""

    status: ExitStatus | None
    """None when the leader survived KILL (state D) and could not be reaped."""
    stopped: bool = False
    """Whether a stop or the time limit ended it; False if it ended by itself."""
    output_complete: bool = True
    leftovers: tuple[int, ...] = ()
    """Pids that survived KILL."""
    left_nothing: bool = False
    """Whether it is known that the tree printed nothing and left nothing in the run's folders."""
    refused_forks: int = 0
    """`FinalUsage.refused_forks`."""


async def supervise(
    tree: ProcessTree,
    log: RunLog,
    control: TaskControl,
    why: ReasonLog,
    *,
    timing: Timing,
    grace: float,
    limit: float,
    before_term: Callable[[], Awaitable[None]],
    at_exit: Callable[[], None] = lambda: None,
) -> ProcessEnd:
    """Wait until `tree` ends; stop it when `control` is stopped or `limit` seconds have passed.

    Meanwhile its output goes to `log`. Returns when the tree is empty or its leftovers are known; with
    leftovers the caller owns the tree that is not reaped. `at_exit` is called when the leader has ended
    by itself, before it is reaped; `before_term` before TERM.

    Cancelled, it still terminates, kills and reaps before it returns. One exception: a run that is
    `leaving` detaches from a tree that a supervisor holds.
    """
    ended = trio.Event()
    reading = trio.CancelScope(shield=True)

    async def read() -> None:
        with reading:
            try:
                await tree.output.pump(log)
            except OSError as error:
                why.add("output", f"the output pipe failed: {error}")
            ended.set()

    end = ProcessEnd(status=None)
    async with trio.open_nursery() as nursery:
        # The reader starts before anything is waited for: a process that has filled the pipe never
        # ends.
        nursery.start_soon(read)
        exited = False
        try:
            with control.stoppable(limit):
                await tree.exited()
                exited = True
        finally:
            with trio.CancelScope(shield=True):
                if exited or not (control.leaving and await tree.detach()):
                    try:
                        # Before the drain: processes that end meanwhile take their usage with them.
                        if exited:
                            at_exit()
                        else:
                            await before_term()
                    except Exception as error:
                        # A bug in what only informs must not keep the tree alive
                        # (test_a_bug_before_term_keeps_no_tree_alive).
                        logger.exception("internal error at the end of a process")
                        why.add("bug", f"internal error of the agent: {error!r}")
                    if exited:
                        await _drain(tree, ended, why, timing.drain)
                    else:
                        await _terminate(tree, ended, control, why, grace)
                    leftovers = await _sweep(
                        tree, why, control.stop_budget(timing.sweep), by_itself=exited
                    )
                    await _drain_rest(ended, log, timing)
                    status: ExitStatus | None = None
                    if tree.pid not in leftovers:
                        status = await tree.reap()
                        why.add("exit", f"the process ended with {status}", (tree.pid,))
                    interrupted = tree.external_stop_reason if exited else ""
                    if interrupted:
                        why.add("supervisor", interrupted)
                        # The process is over, so this stops nothing. An earlier cause stays.
                        control.stop(StopCause(kind=StopKind.AGENT_EXIT, text=interrupted))
                    usage = tree.final_usage
                    end = ProcessEnd(
                        status=status,
                        stopped=not exited or bool(interrupted),
                        output_complete=ended.is_set(),
                        leftovers=leftovers,
                        left_nothing=tree.left_nothing and not leftovers,
                        refused_forks=usage.refused_forks if usage is not None else 0,
                    )
                # A process that escaped from the tree can hold the pipe for ever.
                reading.cancel()
                await tree.output.aclose()
    if not end.output_complete:
        why.add("output", "the pipe was still held after the sweep: the output may lack its end")
    return end


async def _terminate(
    tree: ProcessTree, ended: trio.Event, control: TaskControl, why: ReasonLog, grace: float
) -> None:
    """Send TERM to the whole tree and wait until all of it has ended, at most `grace` seconds."""
    pids = await tree.signal_tree(TreeSignal.TERM)
    why.add("signal", f"TERM, up to {grace:g} s to end", pids)
    with control.in_grace(grace) as waiting:
        # A shell ends at once, before the renderer below it has saved its frame: the grace is for
        # the whole tree, and for what it still prints.
        await tree.exited()
        await tree.wait_empty()
        await ended.wait()
    if waiting.cancelled_caught:
        why.add("grace", "not all processes had ended within the grace")


async def _drain(tree: ProcessTree, ended: trio.Event, why: ReasonLog, drain: float) -> None:
    """Wait for the end of the output of a tree whose leader has ended, at most `drain` seconds."""
    if ended.is_set():
        return
    with trio.move_on_after(drain) as waiting:
        await ended.wait()
    if waiting.cancelled_caught:
        why.add("drain", f"pid {tree.pid} ended, but others held its output for {drain:g} s")


async def _drain_rest(ended: trio.Event, log: RunLog, timing: Timing) -> None:
    """Wait for the output that the pipe still holds once its writers are killed."""
    if ended.is_set():
        return
    # Nothing writes any more, so a pipe holds at most its capacity. As long as bytes arrive, a slow
    # disk is the reason for the delay; without any for `drain` seconds, a process outside of the tree
    # holds the pipe (test_what_still_comes_after_the_sweep_is_waited_for).
    size = -1
    with trio.move_on_after(timing.sweep):
        while not ended.is_set() and log.size != size:
            size = log.size
            with trio.move_on_after(timing.drain):
                await ended.wait()


async def _sweep(
    tree: ProcessTree, why: ReasonLog, deadline: float, *, by_itself: bool
) -> tuple[int, ...]:
    """Send KILL to what is left and wait until the tree is empty; return the pids that survive.

    `by_itself`: the leader had ended without a stop.
    """
    pids = await tree.signal_tree(TreeSignal.KILL)
    # Without the leader: its end is reported with its status.
    others = tuple(pid for pid in pids if pid != tree.pid)
    if others:
        text = "KILL to what the task left behind" if by_itself else "KILL to what was left"
        why.add("sweep", text, others)
    leftovers = await tree.kill_until_empty(deadline)
    if leftovers:
        why.add("leftover", f"still there {deadline:g} s after KILL", leftovers)
    return leftovers

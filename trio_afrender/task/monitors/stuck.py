"""Watches one process tree for the time when it does nothing any more, and acts by the rules."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from trio_afrender.config import Stuck
from trio_afrender.hostinfo.process_inspection import Examine, ProcessReport
from trio_afrender.process.interfaces import ProcessTree
from trio_afrender.task.monitors.stuck_rules import (
    ActivitySample,
    InactivityTimer,
    StuckAction,
    decide,
    stop_kind,
)
from trio_afrender.task.reasons import ReasonLog
from trio_afrender.task.status_rules import StopCause, StopKind
from trio_afrender.task.task_control import TaskControl
from trio_afrender.tasklog.interfaces import RunLog

__all__ = ("watch_stuck",)


async def watch_stuck(
    rules: Stuck,
    child: ProcessTree,
    log: RunLog,
    handle: TaskControl,
    why: ReasonLog,
    *,
    examine: Examine,
    gpus_unclaimed: Callable[[], bool],
    say: Callable[[str], Awaitable[None]],
    remark: Callable[[str], Awaitable[None]],
) -> None:
    """Look at each measurement of the tree; cancelled when its process is over.

    `say` puts text into the task's log, `remark` tells the server in a few words how it stands,
    '' that all is well again. A tree that nobody measures is never stuck, and none is while a card
    works for nobody knows whom (`gpus_unclaimed`).
    """
    await handle.measured()
    silence = InactivityTimer(rules, _look(log, handle, gpus_unclaimed))
    warned = stopping = False
    longest = 0.0
    while not stopping:
        await handle.measured()
        if handle.suspension:
            await handle.suspension.over()
            silence = InactivityTimer(rules, _look(log, handle, gpus_unclaimed))
            continue
        silent = silence.look(_look(log, handle, gpus_unclaimed))
        match decide(rules, silent, warned=warned):
            case StuckAction.WARN:
                warned = True
                evidence = await _examine(child, examine)
                text = f"no sign of life for {silent:.0f} s: {silence.figures()}"
                why.add("stuck", _join(text, evidence))
                await say(f"{text}\n{evidence.lines()}".rstrip() + "\n")
                await remark(f"STUCK? No sign of life for {silent:.0f} s")
            case StuckAction.STOP:
                stopping = await _stop(rules, silent, silence, child, handle, why, examine, say)
            case StuckAction.RELIEF:
                warned = False
                why.add("stuck", text := f"it moves again after {longest:.0f} s")
                await say(f"{text}\n")
                await remark("")
            case StuckAction.NOTHING:
                pass
        longest = silent


def _look(log: RunLog, handle: TaskControl, gpus_unclaimed: Callable[[], bool]) -> ActivitySample:
    usage, now = handle.usage, trio.current_time()
    if usage is None:
        return ActivitySample(time=now, printed=log.size)
    return ActivitySample(
        time=now,
        printed=log.size,
        cpu=usage.cpu_seconds,
        moved=usage.read_bytes + usage.written_bytes + handle.passed,
        processes=handle.members,
        gpu_percent=usage.gpu_percent or float(gpus_unclaimed()),
        gpu_memory=usage.gpu_memory,
    )


async def _stop(
    rules: Stuck,
    silent: float,
    silence: InactivityTimer,
    child: ProcessTree,
    handle: TaskControl,
    why: ReasonLog,
    examine: Examine,
    say: Callable[[str], Awaitable[None]],
) -> bool:
    """Stop the run; False for one that somebody has halted."""
    evidence = await _examine(child, examine)
    kind = stop_kind(evidence.states)
    if kind is None:
        return False
    text = f"no sign of life for {silent:.0f} s, stuck.stop_after is {rules.stop_after:g} s"
    blame = "it waits for a device of this host, so the task is given back"
    if kind is not StopKind.STUCK_HOST:
        blame = "the task is stopped as an error"
    why.add("rule", f"{_join(f'{text}: {silence.figures()}', evidence)}: {blame}")
    await say(f"{text}: {blame}\n{evidence.lines()}".rstrip() + "\n")
    handle.stop(StopCause(kind=kind, text=text))
    return True


async def _examine(child: ProcessTree, examine: Examine) -> ProcessReport:
    try:
        return await examine(await child.members())
    except OSError:  # no descriptor to look with
        return ProcessReport()


def _join(text: str, evidence: ProcessReport) -> str:
    return f"{text}; {evidence.words()}" if evidence.looks else text

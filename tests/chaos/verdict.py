"""Checks after a round: final states of tasks, lines of output, processes left over."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from chaos.task_shapes import FLOODS, TaskPlan
from trio_afrender.farm import JobView
from trio_afrender.protocol.messages import TaskKey

__all__ = ("check_job", "check_order", "check_output", "find_leftovers")

LINE = re.compile(r"([LF]) (\d+)\n")
GAP = re.compile(r"--- trio_afrender: (\d+) bytes?, (\d+) lines? of output left out here ---")


def check_job(
    plans: tuple[TaskPlan, ...],
    view: JobView,
    ends: Mapping[TaskKey, int],
    *,
    disk_failed: bool,
    log_exchanged: bool = False,
) -> list[str]:
    """Return what is wrong with a job that is over.

    `ends` counts the outcomes that the farm took for each task. `disk_failed`: the agent could not
    write to its disk for a while, so tasks may have been given back too often, and output may have
    gaps. `log_exchanged`: something else was put in the place of a file of a run, so its output may
    lack lines whose number nothing has counted.
    """
    problems = []
    for plan, task in zip(plans, view.tasks, strict=True):
        name = f"task {task.task} ({plan.shape}, {plan.lines} lines)"
        states = plan.states | {"error"} if disk_failed else plan.states
        if task.state not in states:
            why = "; ".join(step.text for step in task.why)
            problems.append(f"{name} ended as {task.state}, not {sorted(states)}: {why}")
        if ends.get(task.key, 0) != 1:
            problems.append(f"{name} was ended {ends.get(task.key, 0)} times")
        if log_exchanged:
            problem = check_order(plan, task.output)
        else:
            problem = check_output(plan, task.state, task.output, disk_failed=disk_failed)
        if problem:
            problems.append(f"{name}: {problem}")
    return problems


def check_output(plan: TaskPlan, state: str, output: str, *, disk_failed: bool = False) -> str:
    """Return what is wrong with a task's output; empty if it is right.

    Every line must occur once and in order, up to where the task was stopped. A mark of a gap must
    have the right number of lines; only floods, and tasks on a disk that failed, may have one.
    """
    at, gaps = 0, 0
    for line in output.splitlines(keepends=True):
        if gap := GAP.fullmatch(line.rstrip("\n")):
            at, gaps = at + int(gap[2]), gaps + 1
        elif line == _expected(plan, at + 1):
            at += 1
        elif state == "done" or not _expected(plan, at + 1).startswith(line):
            return f"printed {line[:80]!r} after {at} lines (a gap included: {gaps})"
    if gaps and not disk_failed and plan.shape not in FLOODS:
        return f"{gaps} gaps in {at} lines"
    if at < plan.lines and state not in (("killed", "error") if disk_failed else ("killed",)):
        return f"{at} of {plan.lines} lines"
    return ""


def check_order(plan: TaskPlan, output: str) -> str:
    """Return what is wrong with the output of a task whose log was exchanged; empty if it is right.

    Lines may be missing, also parts of those beside a gap, but none occurs twice or too early.
    """
    last = 0
    for line in output.splitlines(keepends=True):
        if (found := LINE.fullmatch(line)) is None:
            continue
        number = int(found[2]) + (plan.lines if found[1] == "F" else 0)
        if number <= last:
            return f"printed {line[:80]!r} after line {last}"
        last = number
    return ""


def _expected(plan: TaskPlan, number: int) -> str:
    if number <= plan.lines:
        return f"L {number}\n"
    return f"F {number - plan.lines}\n" if plan.shape in FLOODS else ""


def find_leftovers(mark: str) -> list[str]:
    """Describe the running processes of a round; after all outcomes there must be none. Blocks."""
    found = _read_proc(mark.encode()) if sys.platform == "linux" else _ask_psutil(mark)
    return [f"pid {pid} still runs: {' '.join(words[3:6])}" for pid, words in found]


def _read_proc(mark: bytes) -> Iterator[tuple[int, list[str]]]:
    """Ten times as fast as psutil."""
    for name in os.listdir("/proc"):  # noqa: PTH208 - names, not paths
        if name.isdecimal():
            with suppress(OSError):
                words = Path("/proc", name, "cmdline").read_bytes()  # empty for a zombie
                if mark in words:
                    yield int(name), words.decode(errors="replace").split("\0")


def _ask_psutil(mark: str) -> Iterator[tuple[int, list[str]]]:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = process.cmdline()
            if mark in words and process.status() != psutil.STATUS_ZOMBIE:
                yield process.pid, words

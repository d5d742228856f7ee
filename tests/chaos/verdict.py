"""Whether a round left what it may leave: states, lines, processes."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from chaos.task_shapes import FLOODS, Plan
from trio_afrender.farm import JobView
from trio_afrender.protocol.messages import TaskKey

__all__ = ("judge", "judge_output", "list_strays")

GAP = re.compile(r"--- trio_afrender: (\d+) bytes?, (\d+) lines? of output left out here ---")


def judge(
    plans: tuple[Plan, ...], view: JobView, ends: Mapping[TaskKey, int], *, starved: bool
) -> list[str]:
    """Name what is wrong with a job that is over; `starved`: its agent's disk took nothing for a
    while, so tasks may have been given back too often, and output may have gaps."""
    problems = []
    for plan, task in zip(plans, view.tasks, strict=True):
        who = f"task {task.task} ({plan.shape}, {plan.lines} lines)"
        states = plan.states | {"error"} if starved else plan.states
        if task.state not in states:
            why = "; ".join(step.text for step in task.why)
            problems.append(f"{who} ended as {task.state}, not {sorted(states)}: {why}")
        if ends.get(task.key, 0) != 1:
            problems.append(f"{who} came to its end {ends.get(task.key, 0)} times")
        if said := judge_output(plan, task.state, task.output, starved=starved):
            problems.append(f"{who}: {said}")
    return problems


def judge_output(plan: Plan, state: str, output: str, *, starved: bool = False) -> str:
    """Every line once and in order, as far as the task got; where some are left out, as many as
    the mark says. Only floods and starved tasks may have a mark."""
    at, gaps = 0, 0
    for line in output.splitlines(keepends=True):
        if gap := GAP.fullmatch(line.rstrip("\n")):
            at, gaps = at + int(gap[2]), gaps + 1
        elif line == _expected(plan, at + 1):
            at += 1
        elif state == "done" or not _expected(plan, at + 1).startswith(line):
            return f"printed {line[:80]!r} after {at} lines (a gap included: {gaps})"
    if gaps and not starved and plan.shape not in FLOODS:
        return f"{gaps} gaps in {at} lines"
    if at < plan.lines and state not in (("killed", "error") if starved else ("killed",)):
        return f"{at} of {plan.lines} lines"
    return ""


def _expected(plan: Plan, number: int) -> str:
    if number <= plan.lines:
        return f"L {number}\n"
    return f"F {number - plan.lines}\n" if plan.shape in FLOODS else ""


def list_strays(mark: str) -> list[str]:
    """Name processes of the round that live: there may be none when all is reported. Blocks."""
    found = _read_proc(mark.encode()) if sys.platform == "linux" else _ask_psutil(mark)
    return [f"pid {pid} lives: {' '.join(words[3:6])}" for pid, words in found]


def _read_proc(mark: bytes) -> Iterator[tuple[int, list[str]]]:
    """Ten times as fast as psutil."""
    for name in os.listdir("/proc"):  # noqa: PTH208 - names, not paths
        if name.isdecimal():
            with suppress(OSError):
                words = Path("/proc", name, "cmdline").read_bytes()  # that of a zombie is empty
                if mark in words:
                    yield int(name), words.decode(errors="replace").split("\0")


def _ask_psutil(mark: str) -> Iterator[tuple[int, list[str]]]:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = process.cmdline()
            if mark in words and process.status() != psutil.STATUS_ZOMBIE:
                yield process.pid, words

"""Texts about jobs and tasks for the terminal: labels, failures, the summary after a run.

Names and outputs of tasks are cleaned of control characters.
"""

from __future__ import annotations

from collections import Counter

from trio_afrender.cli.terminal import clean, tail
from trio_afrender.jobs.views import JobView, TaskView
from trio_afrender.task.usage_totals import show_bytes

__all__ = ("describe_failure", "label", "name_failure", "seconds_text", "state_text", "summarize")

_MAX_FAILURES = 10
"""Failed tasks shown in full; the others are counted."""
_SLOWEST = 3
_LAST_LINES, _LAST_STEPS = 5, 3
_FOUND = ("class", "rule", "assets", "memory", "post", "stuck", "supervisor", "leftover")
"""Events of reasons that say what was found, not how the process was ended."""
_STATES = ("done", "skipped", "error", "killed", "not run", "running", "ready", "waiting")


def label(task: TaskView) -> str:
    """Return the name of a task for display: block and task."""
    return clean(f"{task.block_name} / {task.name}")


def state_text(task: TaskView) -> str:
    """Return the state of a task for display: a task killed before its first run is "not run"."""
    return "not run" if task.state == "killed" and not task.attempts else task.state


def seconds_text(seconds: float) -> str:
    """Return a duration as ``5.2 s``, ``1:23 min`` or ``1:02:03 h``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d} h"


def summarize(job: JobView) -> list[str]:
    """Return the summary of a job in lines. Reads texts of failed tasks: blocking."""
    counts = Counter(state_text(task) for task in job.tasks)
    states = ", ".join(f"{counts[state]} {state}" for state in _STATES if counts[state])
    took = ""
    if job.started is not None and job.finished is not None:
        took = f" in {seconds_text(job.finished - job.started)}"
    lines = [f'job "{clean(job.name)}": {job.state}{took}; tasks: {states}']
    slowest = sorted(job.tasks, key=_seconds, reverse=True)[:_SLOWEST]
    times = [
        f"{label(task)} {seconds_text(_seconds(task))}" for task in slowest if _seconds(task) >= 0.1
    ]
    if times and len(job.tasks) > 1:
        lines.append(f"slowest: {', '.join(times)}")
    largest = sorted(job.tasks, key=_peak, reverse=True)[:_SLOWEST]
    peaks = [f"{label(task)} {show_bytes(_peak(task))}" for task in largest if _peak(task)]
    if peaks:
        lines.append(f"most memory: {', '.join(peaks)}")
    failed = [task for task in job.tasks if task.state == "error"]
    for task in failed[:_MAX_FAILURES]:
        lines += describe_failure(task)
    if len(failed) > _MAX_FAILURES:
        lines.append(f"... and {len(failed) - _MAX_FAILURES} more failed tasks")
    return lines


def name_failure(task: TaskView) -> list[str]:
    """Return a failed attempt in short, with the last lines of its output. Reads them: blocking."""
    lines = tail(task.output, 2)
    if not lines and not task.cause:
        lines = [clean(step.text) for step in task.why[-1:]]
    return [f"failed: {label(task)}: {_ending(task)}", *(f"    | {line}" for line in lines)]


def describe_failure(task: TaskView) -> list[str]:
    """Return why a task failed, and the last lines of its output. Reads them: blocking."""
    steps = task.why[-_LAST_STEPS:]
    if task.cause:
        # How the process was ended is in the log: what the rules found is what a person needs.
        found = [step for step in task.attempt_why if step.event in _FOUND]
        steps = tuple(found[:_LAST_STEPS])
    reasons = [f"    why: {clean(step.text)}" for step in steps]
    lines = [f"    | {line}" for line in tail(task.output, _LAST_LINES)]
    return [f"failed: {label(task)}: {_ending(task)}", *reasons, *lines]


def _ending(task: TaskView) -> str:
    tries = "1 try" if task.attempts == 1 else f"{task.attempts} tries"
    if task.cause:
        return f"{clean(task.cause)}, {tries}"
    if task.exit_code is None:
        return tries
    if task.exit_code < 0:
        return f"ended by signal {-task.exit_code}, {tries}"
    return f"exit code {task.exit_code}, {tries}"


def _seconds(task: TaskView) -> float:
    if task.started is None or task.finished is None:
        return 0.0
    return max(0.0, task.finished - task.started)


def _peak(task: TaskView) -> int:
    return task.usage.resident_peak if task.usage is not None else 0

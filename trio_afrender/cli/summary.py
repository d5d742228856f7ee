"""Texts about jobs and tasks for the terminal: labels, failures, the summary after a run.

Names and outputs of tasks are cleaned of control characters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from trio_afrender.cli.terminal import Part, clean, tail
from trio_afrender.jobs.views import JobView, TaskView
from trio_afrender.task.usage_totals import show_bytes

__all__ = (
    "describe_failure",
    "label",
    "list_warnings_of_tasks",
    "name_failure",
    "seconds_text",
    "summarize",
)

_MAX_FAILURES = 10
"""Failed tasks shown in full; the others are counted."""
_SLOWEST = 3
_WARNING_EVENTS = ("image", "assets", "parser", "plugin", "post", "gap", "store")
"""Events of reasons that a person should know of a task that is done."""
_STYLES = {
    "done": "green", "skipped": "yellow", "error": "bold red", "killed": "red", "stopped": "red",
    "not run": "yellow",
}  # fmt: skip
_LAST_LINES, _LAST_STEPS = 5, 3
_FOUND = ("class", "rule", "assets", "memory", "post", "stuck", "supervisor", "leftover")
"""Events of reasons that say what was found, not how the process was ended."""
_STATES = ("done", "skipped", "error", "killed", "not run", "running", "ready", "waiting")


def label(task: TaskView) -> str:
    """Return the name of a task for display: block and task."""
    return clean(f"{task.block_name} / {task.name}")


def seconds_text(seconds: float) -> str:
    """Return a duration as ``5.2 s``, ``1:23 min`` or ``1:02:03 h``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d} h"


def summarize(job: JobView) -> list[Sequence[Part]]:
    """Return the summary of a job in lines. Reads texts of failed tasks: blocking."""
    took = ""
    if job.started is not None and job.finished is not None:
        took = f" in {seconds_text(job.finished - job.started)}"
    state = (job.state, _STYLES.get(job.state, "bold"))
    first: list[Part] = ["job ", (f'"{clean(job.name)}"', "bold"), ": ", state, f"{took}; tasks: "]
    counts = Counter(task.outcome for task in job.tasks)
    for number, outcome in enumerate(each for each in _STATES if counts[each]):
        text, style = f"{counts[outcome]} {outcome}", _STYLES.get(outcome)
        first += [", "] if number else []
        first.append((text, style) if style else text)
    lines: list[Sequence[Part]] = [first]
    slowest = sorted(job.tasks, key=TaskView.seconds, reverse=True)[:_SLOWEST]
    times = [
        f"{label(task)} {seconds_text(seconds)}"
        for task in slowest
        if (seconds := task.seconds()) >= 0.1
    ]
    if times and len(job.tasks) > 1:
        lines.append([f"slowest: {', '.join(times)}"])
    largest = sorted(job.tasks, key=lambda task: task.memory_peak, reverse=True)[:_SLOWEST]
    peaks = [f"{label(task)} {show_bytes(peak)}" for task in largest if (peak := task.memory_peak)]
    if peaks:
        lines.append([f"most memory: {', '.join(peaks)}"])
    lines += [[("warning", "yellow"), f": {text}"] for text in list_warnings_of_tasks(job.tasks)]
    failed = [task for task in job.tasks if task.state == "error"]
    for task in failed[:_MAX_FAILURES]:
        lines += describe_failure(task)
    if len(failed) > _MAX_FAILURES:
        lines.append([f"... and {len(failed) - _MAX_FAILURES} more failed tasks"])
    return lines


def list_warnings_of_tasks(tasks: Sequence[TaskView], most: int = 5) -> list[str]:
    """Return warnings about tasks that are done: damaged images, missing files, faults of plugins.

    Tasks with the same warning share a line.
    """
    found: dict[str, list[TaskView]] = {}
    for task in tasks:
        if task.state == "done":
            texts = (step.text for step in task.attempt_why if step.event in _WARNING_EVENTS)
            for text in dict.fromkeys(texts):
                found.setdefault(clean(text), []).append(task)
    lines = []
    for text, of in list(found.items())[:most]:
        others = f" and {len(of) - 1} more" if len(of) > 1 else ""
        lines.append(f"{label(of[0])}{others}: {text}")
    if len(found) > most:
        lines.append(f"... and {len(found) - most} more warnings")
    return lines


def name_failure(task: TaskView) -> list[str]:
    """Return a failed attempt in short, with the last lines of its output. Reads them: blocking."""
    lines = tail(task.output, 2)
    if not lines and not task.cause:
        lines = [clean(step.text) for step in task.why[-1:]]
    return [f"failed: {label(task)}: {_ending(task)}", *(f"    | {line}" for line in lines)]


def describe_failure(task: TaskView) -> list[Sequence[Part]]:
    """Return why a task failed, and the last lines of its output. Reads them: blocking."""
    steps = task.why[-_LAST_STEPS:]
    if task.cause:
        # How the process was ended is in the log: what the rules found is what a person needs.
        found = [step for step in task.attempt_why if step.event in _FOUND]
        steps = tuple(found[:_LAST_STEPS])
    return [
        [("failed", "bold red"), f": {label(task)}: {_ending(task)}"],
        *([f"    why: {clean(step.text)}"] for step in steps),
        *([(f"    | {line}", "dim")] for line in tail(task.output, _LAST_LINES)),
    ]


def _ending(task: TaskView) -> str:
    ended = max(1, task.attempts - (task.state == "running"))
    tries = "1 try" if ended == 1 else f"{ended} tries"
    if task.cause:
        return f"{clean(task.cause)}, {tries}"
    if task.exit_code is None:
        return tries
    if task.exit_code < 0:
        return f"ended by signal {-task.exit_code}, {tries}"
    return f"exit code {task.exit_code}, {tries}"

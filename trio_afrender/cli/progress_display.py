"""The live picture of a job for a terminal: a bar a running task, a total. Needs rich."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from trio_afrender.cli.summary import label, seconds_text, state_text
from trio_afrender.cli.terminal import clean, shorten_line
from trio_afrender.jobs.views import JobView, TaskView
from trio_afrender.task.usage_totals import show_bytes

__all__ = ("RichProgress",)

_SPARE_ROWS = 5
"""Rows of the terminal that stay free of bars: the total, what waits, lines above."""
_ECHO_COLUMNS = 3
"""Columns left free: a terminal that echoes ``^C`` behind a full row would move the picture."""


class RichProgress:
    """A `Screen` that draws on stderr; lines stand above the picture."""

    kinds: Sequence[str] = ("failed",)

    def __init__(self) -> None:
        self.console = Console(stderr=True, markup=False, highlight=False, emoji=False)
        self._live = Live(console=self.console, auto_refresh=False, transient=True)

    def open(self) -> None:
        self._live.start()

    def close(self) -> None:
        self._live.update(Text(""), refresh=True)
        self._live.stop()

    def line(self, text: str) -> None:
        self.console.print(Text(text), soft_wrap=True)

    def draw(self, job: JobView, waiting: str, now: float) -> None:
        self._live.update(self._picture(job, waiting), refresh=True)

    def _picture(self, job: JobView, waiting: str) -> Group:
        width, height = self.console.width - _ECHO_COLUMNS, self.console.height
        running = [task for task in job.tasks if task.state == "running"]
        room = max(1, height - _SPARE_ROWS)
        shown = running if len(running) <= room else running[: room - 1]
        parts: list[Table | Text] = [_bars(shown, width)] if shown else []
        if len(running) > len(shown):
            parts.append(Text(f"... and {len(running) - len(shown)} more running"))
        if waiting:
            parts.append(Text(shorten_line(waiting, width), style="yellow"))
        return Group(*parts, _total(job, width))


def _bars(tasks: list[TaskView], width: int) -> Table:
    name = max(10, min(40, width // 3))
    table = Table.grid(padding=(0, 1))
    table.width = width
    table.add_column(width=min(name, max(len(label(task)) for task in tasks)), no_wrap=True)
    table.add_column(ratio=2, min_width=8)
    table.add_column(width=4, justify="right", no_wrap=True)
    table.add_column(ratio=3, no_wrap=True)
    for task in tasks:
        table.add_row(
            Text(shorten_line(label(task), name)),
            ProgressBar(total=100, completed=task.percent),
            Text(f"{task.percent}%"),
            Text(shorten_line(_details(task), width), style="dim", overflow="ellipsis"),
        )
    return table


def _details(task: TaskView) -> str:
    parts = [clean(task.activity)] if task.activity else []
    if task.frame or task.percentframe != task.percent:
        # `frame` counts finished frames: the one being rendered is the next.
        parts.insert(0, f"frame {task.frame + 1}, {task.percentframe}%")
    if task.started is not None:
        parts.append(seconds_text(max(0.0, time.time() - task.started)))
    if task.usage is not None and task.usage.processes:
        parts.append(f"{show_bytes(task.usage.resident)}, {task.usage.cpu_percent:.0f}% cpu")
    if task.attempts > 1:
        parts.append(f"try {task.attempts}")
    return ", ".join(parts)


def _total(job: JobView, width: int) -> Table:
    states = Counter(state_text(task) for task in job.tasks)
    over = sum(states[state] for state in ("done", "skipped", "error", "killed"))
    running = sum(task.percent for task in job.tasks if task.state == "running") / 100
    table = Table.grid(padding=(0, 1))
    table.width = width
    table.add_column(no_wrap=True)
    table.add_column(ratio=1, min_width=8)
    table.add_column(no_wrap=True)
    counts = f"{over} of {len(job.tasks)}"
    for state, word in (("error", "failed"), ("killed", "stopped"), ("not run", "not run")):
        counts += f", {states[state]} {word}" if states[state] else ""
    if job.started is not None:
        counts += f", {seconds_text(max(0.0, time.time() - job.started))}"
    table.add_row(
        Text(shorten_line(job.name, width // 3), style="bold"),
        ProgressBar(total=max(1, len(job.tasks)), completed=over + running),
        Text(counts),
    )
    return table

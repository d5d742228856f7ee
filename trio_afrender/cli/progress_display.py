"""Displays of a job's progress on stderr: bars on a terminal, plain lines elsewhere, or nothing.

rich draws the bars. It is an extra and takes long to import, so the functions that need it import it.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Protocol

from trio_afrender.cli.summary import label, seconds_text
from trio_afrender.cli.terminal import clean, has_rich, print_line, shorten_line
from trio_afrender.extras import how_to_install
from trio_afrender.jobs.views import FINAL_STATES, JobView, TaskView
from trio_afrender.task.usage_totals import show_bytes

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

__all__ = ("PlainScreen", "QuietScreen", "RichProgress", "Screen", "choose_screen")

_OVERVIEW_INTERVAL = 10.0
"""Seconds between two overviews of the running tasks in plain lines."""
_QUIET_NOTICE_AFTER = 8.0
"""Seconds after the reason of waiting is known, for users who asked for the summary only."""
_SPARE_ROWS = 5
"""Rows of the terminal without bars: for the total, the reason of waiting, lines above."""
_OUTPUT_STYLES = ("cyan", "magenta", "green", "blue", "yellow", "bright_cyan", "bright_magenta")
_UNFOLDED = ("linux", "xterm-mono")
"""Terminals that cut lines when they get narrower. Others fold them, as tmux and VTE do."""
_ECHO_COLUMNS = 3
"""Columns left free: the ``^C`` that a terminal echoes after a full row would shift the bars."""


class Screen(Protocol):
    """Shows the progress of a job. Methods block on the terminal; any thread may call them."""

    kinds: Sequence[str]
    """The events that get a line: ``done``, ``failed``."""

    def open(self) -> None: ...

    def close(self) -> None: ...

    def line(self, text: str, style: str = "") -> None:
        """Write a line that stays. `text` is cleaned; `style` is one of rich's, for terminals."""
        ...

    def output(self, name: str, number: int, text: str) -> None:
        """Write a line that a task has printed, behind its name; `number` chooses the colour."""
        ...

    def draw(self, job: JobView, waiting: str, outlook: str, now: float) -> None:
        """Show the state of the job; `waiting` is why nothing runs, `outlook` what is expected of it.

        `now` is in seconds.
        """
        ...


class QuietScreen:
    """Shows log lines, answers to signals, and why nothing runs if that lasts."""

    kinds: Sequence[str] = ()

    def __init__(self) -> None:
        self._waits_since: float | None = None
        self._shown_waiting = ""

    def open(self) -> None: ...

    def close(self) -> None: ...

    def line(self, text: str, style: str = "") -> None:
        print_line(text)

    def output(self, name: str, number: int, text: str) -> None:
        print_line(f"{name} | {text}")

    def draw(self, job: JobView, waiting: str, outlook: str, now: float) -> None:
        if not waiting or self._waits_since is None:
            self._waits_since = now
        elif now - self._waits_since >= _QUIET_NOTICE_AFTER and not self._shown_waiting:
            self._show_waiting(waiting)

    def _show_waiting(self, waiting: str) -> None:
        if waiting and waiting != self._shown_waiting:
            print_line(f"nothing runs: {waiting}")
        self._shown_waiting = waiting


class PlainScreen(QuietScreen):
    """Writes a line for each task, and from time to time an overview of the running ones."""

    kinds: Sequence[str] = ("done", "failed")

    def __init__(self) -> None:
        super().__init__()
        self._last_overview: float | None = None

    def open(self) -> None:
        if sys.stderr.isatty():  # so rich is not installed
            print_line(f"for bars and colours, {how_to_install('cli')}")

    def draw(self, job: JobView, waiting: str, outlook: str, now: float) -> None:
        self._show_waiting(waiting)
        if self._last_overview is not None and now - self._last_overview < _OVERVIEW_INTERVAL:
            return
        if self._last_overview is not None:
            running = [task for task in job.tasks if task.state == "running"]
            ended = sum(task.state in FINAL_STATES for task in job.tasks)
            some = [f"{shorten_line(label(task), 40)} {task.percent}%" for task in running[:4]]
            more = f" and {len(running) - 4} more" if len(running) > 4 else ""
            names = f"{', '.join(some) or 'none'}{more}"
            then = f"; {outlook}" if outlook else ""
            print_line(f"{ended} of {len(job.tasks)} tasks ended; running: {names}{then}")
        self._last_overview = now


class RichProgress:
    """Draws a bar for each running task and one for the job; lines stay above them."""

    kinds: Sequence[str] = ("failed",)

    def __init__(self, unparsed: Collection[int] = ()) -> None:
        """`unparsed` are blocks whose output is not parsed: their tasks have no percentage."""
        from rich.console import Console
        from rich.live import Live

        self.console: Console = Console(stderr=True, markup=False, highlight=False, emoji=False)
        self._unparsed = unparsed
        self._live = Live(console=self.console, auto_refresh=False, transient=True)
        self._drawn: tuple[int, Sequence[int]] | None = None
        """Width of the terminal, and of each line, when the bars were last drawn."""

    def open(self) -> None:
        self._live.start()

    def close(self) -> None:
        from rich.text import Text

        self._erase_folded()
        self._live.update(Text(""), refresh=True)
        self._live.stop()

    def line(self, text: str, style: str = "") -> None:
        from rich.text import Text

        self._erase_folded()
        self.console.print(Text(text, style=style), soft_wrap=True)

    def output(self, name: str, number: int, text: str) -> None:
        from rich.text import Text

        style = _OUTPUT_STYLES[number % len(_OUTPUT_STYLES)]
        self._erase_folded()
        self.console.print(Text.assemble((name, style), (" | ", "dim"), text), soft_wrap=True)

    def draw(self, job: JobView, waiting: str, outlook: str, now: float) -> None:
        from rich.console import Group
        from rich.segment import Segment
        from rich.text import Text

        self._erase_folded()
        width = self.console.width - _ECHO_COLUMNS
        running = [task for task in job.tasks if task.state == "running"]
        rows = max(1, self.console.height - _SPARE_ROWS)
        shown = running if len(running) <= rows else running[: rows - 1]
        parts: list[Table | Text] = []
        if shown:
            parts.append(make_task_bars(shown, width, self._unparsed))
        if len(running) > len(shown):
            parts.append(Text(f"... and {len(running) - len(shown)} more running"))
        if waiting:
            parts.append(Text(clean(waiting), style="yellow", no_wrap=True, overflow="ellipsis"))
        elif outlook:
            parts.append(Text(outlook, style="dim", no_wrap=True, overflow="ellipsis"))
        group = Group(*parts, make_job_bar(job, width))
        lines = self.console.render_lines(group, pad=False)
        self._live.update(group, refresh=True)
        self._drawn = self.console.width, [Segment.get_line_length(line) for line in lines]

    def _erase_folded(self) -> None:
        """Erase the bars if the terminal has become narrower.

        It has folded each of their lines into several, and rich would erase only as many as it drew.
        """
        from rich.control import Control
        from rich.segment import ControlType

        width = self.console.width
        if self._drawn is None or width >= self._drawn[0]:
            return
        _, lines = self._drawn
        self._drawn = None
        if os.environ.get("TERM") in _UNFOLDED or "XTERM_VERSION" in os.environ:
            return
        rows = sum(max(1, -(-length // width)) for length in lines)
        up, erase = (ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)
        with self.console:  # one write
            self.console.control(Control(erase, *[up, erase] * (rows - 1)))
            # The cursor has to be where rich expects it: in the last of its lines.
            self.console.control(Control(*[(ControlType.CURSOR_DOWN, 1)] * (len(lines) - 1)))


def make_task_bars(tasks: Sequence[TaskView], width: int, unparsed: Collection[int] = ()) -> Table:
    """Return a row for each task: its name, bar, percentage and details, cut to the width.

    A bar without a percentage, of a block in `unparsed`, moves instead of growing.
    """
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    longest = max(Text(label(task)).cell_len for task in tasks)
    table = Table.grid(padding=(0, 1))
    table.width = width
    table.add_column(width=min(longest, 40, max(10, width // 3)), no_wrap=True, overflow="ellipsis")
    table.add_column(ratio=2, min_width=8)
    table.add_column(width=4, justify="right", no_wrap=True)
    table.add_column(ratio=3, no_wrap=True, overflow="ellipsis", style="dim")
    for task in tasks:
        unknown = task.block in unparsed and not task.percent
        bar = ProgressBar(total=None if unknown else 100, completed=task.percent)
        percent = "" if unknown else f"{task.percent}%"
        table.add_row(Text(label(task)), bar, percent, Text(describe_progress(task)))
    return table


def describe_progress(task: TaskView) -> str:
    """Return what is known of a running task besides its percentage."""
    parts = [clean(task.activity)] if task.activity else []
    if task.frame or task.percentframe != task.percent:
        # Without frame numbers, `frame` counts finished ones: the one being rendered is the next.
        number = task.current_frame if task.frames is not None else task.frame + 1
        parts.insert(0, f"frame {number}, {task.percentframe}%")
    if task.started is not None:
        parts.append(seconds_text(max(0.0, time.time() - task.started)))
    if task.usage is not None and task.usage.processes:
        parts.append(f"{show_bytes(task.usage.resident)}, {task.usage.cpu_percent:.0f}% cpu")
    if task.attempts > 1:
        parts.append(f"try {task.attempts}")
    return ", ".join(parts)


def make_job_bar(job: JobView, width: int) -> Table:
    """Return one row: the name of the job, its bar, the numbers of tasks and the time."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    states = Counter(task.outcome for task in job.tasks)
    ended = sum(states[state] for state in ("done", "skipped", "error", "killed"))
    running = sum(task.percent for task in job.tasks if task.state == "running") / 100
    counts = f"{ended} of {len(job.tasks)}"
    for state, word in (("error", "failed"), ("killed", "stopped"), ("not run", "not run")):
        counts += f", {states[state]} {word}" if states[state] else ""
    if job.started is not None:
        counts += f", {seconds_text(max(0.0, time.time() - job.started))}"
    table = Table.grid(padding=(0, 1))
    table.width = width
    table.add_column(max_width=width // 3, no_wrap=True, overflow="ellipsis", style="bold")
    table.add_column(ratio=1, min_width=8)
    table.add_column(no_wrap=True)
    bar = ProgressBar(total=max(1, len(job.tasks)), completed=ended + running)
    table.add_row(Text(clean(job.name)), bar, counts)
    return table


def choose_screen(*, quiet: bool, unparsed: Collection[int] = ()) -> Screen:
    """Return bars if stderr is a terminal and rich is installed, else plain lines.

    `unparsed` are the numbers of blocks whose output is not parsed.
    """
    if quiet:
        return QuietScreen()
    if sys.stderr.isatty() and has_rich():
        return RichProgress(unparsed)
    return PlainScreen()

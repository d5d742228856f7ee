"""Where the progress of a job is told: plain lines, or nothing but what was asked to be said."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from typing import Protocol

from trio_afrender.cli.summary import label
from trio_afrender.cli.terminal import print_line, shorten_line
from trio_afrender.jobs.views import FINAL_STATES, JobView

__all__ = ("PlainScreen", "QuietScreen", "Screen", "choose_screen")

_OVERVIEW_INTERVAL = 15.0
"""Seconds after which plain lines tell how far the running tasks are."""


class Screen(Protocol):
    """Methods block on the terminal and may be called from any thread."""

    kinds: Sequence[str]
    """What is worth a line here: ``done``, ``failed``."""

    def open(self) -> None: ...

    def close(self) -> None: ...

    def line(self, text: str) -> None:
        """Write a line that stays. `text` is clean."""
        ...

    def draw(self, job: JobView, waiting: str, now: float) -> None:
        """Show the state of the job; `waiting` says why nothing runs, `now` is in seconds."""
        ...


class QuietScreen:
    """Log lines and answers to signals only."""

    kinds: Sequence[str] = ()

    def open(self) -> None: ...

    def close(self) -> None: ...

    def line(self, text: str) -> None:
        print_line(text)

    def draw(self, job: JobView, waiting: str, now: float) -> None: ...


class PlainScreen(QuietScreen):
    """A line for each task, and an overview now and then."""

    kinds: Sequence[str] = ("done", "failed")

    def __init__(self) -> None:
        self._last: float | None = None
        self._said = ""

    def draw(self, job: JobView, waiting: str, now: float) -> None:
        if waiting and waiting != self._said:
            print_line(f"nothing runs: {waiting}")
        self._said = waiting
        if self._last is not None and now - self._last < _OVERVIEW_INTERVAL:
            return
        if self._last is not None:
            print_line(_overview(job))
        self._last = now


def _overview(job: JobView) -> str:
    running = [task for task in job.tasks if task.state == "running"]
    over = sum(task.state in FINAL_STATES for task in job.tasks)
    told = ", ".join(f"{shorten_line(label(task), 40)} {task.percent}%" for task in running[:4])
    more = f" and {len(running) - 4} more" if len(running) > 4 else ""
    return f"{over} of {len(job.tasks)} tasks over; running: {told or 'none'}{more}"


def choose_screen(*, quiet: bool) -> Screen:
    """Return bars on a terminal with rich, else plain lines."""
    if quiet:
        return QuietScreen()
    if sys.stderr.isatty() and importlib.util.find_spec("rich") is not None:
        from trio_afrender.cli.progress_display import RichProgress

        return RichProgress()
    return PlainScreen()

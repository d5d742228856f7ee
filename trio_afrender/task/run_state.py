"""The facts known of a run so far; they end up in its outcome and its log."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import trio

from trio_afrender.plugins.interfaces import PluginTask
from trio_afrender.protocol.messages import TaskStatus, TaskUpdate
from trio_afrender.task.process_lifecycle import ProcessEnd
from trio_afrender.task.reasons import ReasonLog
from trio_afrender.task.status_rules import RunFacts, cap_retries, decide_status
from trio_afrender.task.task_control import TaskControl
from trio_afrender.task.tools import TaskDependencies
from trio_afrender.task.usage_totals import usage_sentence
from trio_afrender.tasklog.redact import Redactor

__all__ = ("RunState",)

logger = logging.getLogger(__name__)

MAX_EXCEPTION_TEXT = 300
"""Characters of an exception in the agent's log; the task's log has all of it."""


class RunState:
    """Written only by the run itself."""

    def __init__(self, control: TaskControl, dependencies: TaskDependencies) -> None:
        self.control = control
        self.dependencies = dependencies
        self.why = ReasonLog(dependencies.wall)
        self.started: float | None = None
        """Unix time at which the task's own process started."""
        self.finished: float | None = None
        """`started` plus the duration by trio's clock, which does not jump as a wall clock can."""
        self._began = 0.0
        self.end: ProcessEnd | None = None
        """The end of the task's own process, not of a post command."""
        self.output = ""
        """The output window for the outcome."""
        self.last: TaskUpdate | None = None
        """The last progress."""
        self.secrets: tuple[str, ...] = ()
        self.gpus: tuple[str, ...] = ()
        """Names of the GPUs that the run has for itself."""
        self.gpu_variables: Mapping[str, str] = {}
        """Environment variables that make its processes use these GPUs only."""
        self._notes: list[str] = []

    def begin(self, started: float | None = None) -> None:
        """Note the start of the task's own process: now, or at the Unix time `started` by an
        earlier agent."""
        # The two clocks are read once, here: what was before this agent is known in Unix time only.
        now = self.dependencies.wall()
        self.started = now if started is None else started
        self._began = trio.current_time() - max(0.0, now - self.started)

    def finish(self, end: ProcessEnd) -> None:
        """Note the end of the task's own process."""
        self.end = end
        if self.started is not None:
            # test_a_clock_that_jumps_makes_no_task_shorter
            self.finished = self.started + trio.current_time() - self._began

    def note(self, *texts: str) -> None:
        """Add texts to the task's log; empty ones are left out."""
        self._notes.extend(text.rstrip("\n") for text in texts if text.strip())

    async def note_plugins(self, plugins: PluginTask, log: str | None = None) -> None:
        """Add the plugins' log text and problems to the task's log.

        `log` is that text if the caller has it; if None, the plugins are asked for it.
        """
        # The log first: asking for it may add to the problems. Disabled plugins return none; then
        # the text from the construction of the service is used.
        text = await plugins.log() if log is None else log
        texts = (text or plugins.facts.log, *plugins.problems())
        self.note(*texts)
        for each in texts:
            # Also in the agent's log: the task's own log is seldom read if the task succeeded.
            if raised := _find_raised(each):
                task = self.control.task
                names = f"{task.service} / {task.parser or 'no parser'}"
                redacted = Redactor(self.secrets).redact(raised)[:MAX_EXCEPTION_TEXT]
                logger.warning("task %s: a plugin (%s) raised %s", task.key, names, redacted)

    def refuse(self, status: TaskStatus, text: str) -> TaskStatus:
        """Return the status of a run that never got a process, for the reason `text`."""
        self.why.add("refused", text)
        return cap_retries(status, self.control.give_backs)

    def stopped_early(self) -> TaskStatus:
        """Return the status of a run that was stopped before it had a process."""
        cause = self.control.cause
        if cause is None:
            return TaskStatus.FailedToStart
        self.why.add("asked", f"{cause.text}, before anything was started")
        return decide_status(RunFacts(stop=cause, give_backs=self.control.give_backs))

    def log_text(self) -> str:
        """Return the end of the task's log, redacted: notes, reasons, peak usage."""
        peak = ""
        if self.control.usage is not None:
            took: float | None = None
            if self.finished is not None and self.started is not None:
                took = self.finished - self.started
            peak = f"Used at most: {usage_sentence(self.control.usage, took)}"
        text = "\n".join(filter(None, [*self._notes, self.why.text(), peak]))
        return Redactor(self.secrets).redact(text) + "\n" if text else ""


def _find_raised(text: str) -> str:
    """Return the exception at the end of the last traceback in `text`; empty if there is none."""
    _, found, rest = text.rpartition("Traceback (most recent call last):\n")
    lines = rest.splitlines() if found else []
    return next((line for line in lines if not line.startswith(" ")), "")

"""What is known of a run so far: facts that end up in its outcome and its log."""

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
"""Characters of an exception that are logged; the task's log has all of it."""


class RunState:
    """Written by the run alone; nothing in here waits."""

    def __init__(self, handle: TaskControl, tools: TaskDependencies) -> None:
        self.handle = handle
        self.tools = tools
        self.why = ReasonLog(tools.wall)
        self.started: float | None = None
        """Unix time at which the task's own process started."""
        self.finished: float | None = None
        """As far from the start as the run took: a wall clock that jumps makes no task shorter."""
        self._began = 0.0
        self.end: ProcessEnd | None = None
        """Of the task's own process, not of post commands."""
        self.output = ""
        self.last: TaskUpdate | None = None
        """The last progress."""
        self.secrets: tuple[str, ...] = ()
        self.cards: tuple[str, ...] = ()
        """The GPUs that it has for itself."""
        self.card_variables: Mapping[str, str] = {}
        """What tells its processes of them."""
        self._notes: list[str] = []

    def begin(self, started: float | None = None) -> None:
        """Note the start of the task's own process: now, or when an earlier agent started it."""
        now = self.tools.wall()
        self.started = now if started is None else started
        self._began = trio.current_time() - max(0.0, now - self.started)

    def finish(self, end: ProcessEnd) -> None:
        """Note its end."""
        self.end = end
        if self.started is not None:
            self.finished = self.started + trio.current_time() - self._began

    def note(self, *texts: str) -> None:
        """Put texts into the task's log; empty ones are passed over."""
        self._notes.extend(text.rstrip("\n") for text in texts if text.strip())

    async def note_plugins(self, plugins: PluginTask, log: str | None = None) -> None:
        """Put what the plugins have to say into the task's log; asks for `log` if it is None.

        Asking comes first: it may add to the problems. Dropped plugins say nothing any more;
        then what the service said at its making counts.
        """
        said = await plugins.log() if log is None else log
        texts = (said or plugins.facts.log, *plugins.problems())
        self.note(*texts)
        for text in texts:
            self._warn_of(text)

    def _warn_of(self, text: str) -> None:
        """Tell whoever watches the agent what a plugin raised: few people read a good task's log."""
        if raised := _find_raised(text):
            task = self.handle.task
            plugins = f"{task.service} / {task.parser or 'no parser'}"
            hidden = Redactor(self.secrets).redact(raised)[:MAX_EXCEPTION_TEXT]
            logger.warning("task %s: a plugin (%s) raised %s", task.key, plugins, hidden)

    def refuse(self, status: TaskStatus, text: str) -> TaskStatus:
        """Return the status of a run that never got a process, for the reason `text`."""
        self.why.add("refused", text)
        return cap_retries(status, self.handle.give_backs)

    def stopped_early(self) -> TaskStatus:
        """Return the status of a run that was stopped before it had a process."""
        cause = self.handle.cause
        if cause is None:
            return TaskStatus.FailedToStart
        self.why.add("asked", f"{cause.text}, before anything was started")
        return decide_status(RunFacts(stop=cause, give_backs=self.handle.give_backs))

    def log_text(self) -> str:
        """The task's log as it ends: notes, then the chain of why, then what was used at most;
        secrets blotted out."""
        text = "\n".join(filter(None, [*self._notes, self.why.text(), self._peak()]))
        return Redactor(self.secrets).redact(text) + "\n" if text else ""

    def _peak(self) -> str:
        usage, end = self.handle.usage, self.finished
        if usage is None:
            return ""
        took = end - self.started if end is not None and self.started is not None else None
        return f"Used at most: {usage_sentence(usage, took)}"


def _find_raised(text: str) -> str:
    """Return the exception at the end of the last traceback in `text`; empty if there is none."""
    _, found, rest = text.rpartition("Traceback (most recent call last):\n")
    lines = rest.splitlines() if found else []
    return next((line for line in lines if not line.startswith(" ")), "")

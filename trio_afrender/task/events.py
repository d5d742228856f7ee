"""Events that a run sends to the agent over one memory channel.

Their order is the order in which the server must get them: log lines and files before the outcome
(a `TaskUpdate` with a final status) that they belong to.
"""

from __future__ import annotations

from typing import TypeAlias

import attrs

from trio_afrender.process.interfaces import ProcessTree
from trio_afrender.protocol.messages import TaskFile, TaskUpdate
from trio_afrender.tasklog.redact import Redactor

__all__ = ("FilesFound", "Listened", "LogLine", "TaskEvent", "UnkillableTree", "redact_event")


@attrs.frozen(slots=True, kw_only=True)
class LogLine:
    """Text for the task's log on the server."""

    run: str
    text: str


@attrs.frozen(slots=True, kw_only=True)
class Listened:
    """New output of a run, for the clients that listen to it through the server."""

    run: str
    text: str


@attrs.frozen(slots=True, kw_only=True)
class FilesFound:
    """Complete small files of a run."""

    run: str
    files: tuple[TaskFile, ...]


@attrs.frozen(slots=True, kw_only=True)
class UnkillableTree:
    """A tree that survived KILL and outlives its run. The agent owns it from now on: it is to be
    reaped when `pids` have ended."""

    run: str
    tree: ProcessTree
    pids: tuple[int, ...]


TaskEvent: TypeAlias = TaskUpdate | LogLine | Listened | FilesFound | UnkillableTree


def redact_event(event: TaskEvent, redactor: Redactor) -> TaskEvent:
    """Return the event without secrets in any of its texts and files.

    What is cut to a length, or arrives in pieces, has to be redacted before that as well: a part of
    a secret is not found here.
    """
    redact = redactor.redact
    match event:
        case TaskUpdate():
            return attrs.evolve(
                event,
                activity=redact(event.activity),
                report=redact(event.report),
                resources=redact(event.resources),
                output=redact(event.output),
                parsed_files=tuple(map(redact, event.parsed_files)),
                why=tuple(attrs.evolve(step, text=redact(step.text)) for step in event.why),
            )
        case LogLine() | Listened():
            return attrs.evolve(event, text=redact(event.text))
        case FilesFound():
            files = (
                attrs.evolve(file, name=redact(file.name), data=redactor.cover(file.data))
                for file in event.files
            )
            return attrs.evolve(event, files=tuple(files))
        case UnkillableTree():
            return event

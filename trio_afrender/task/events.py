"""What a run tells the agent, over one memory channel and in this order: log lines and files
before the outcome that they belong to."""

from __future__ import annotations

from typing import TypeAlias

import attrs

from trio_afrender.protocol.messages import TaskFile, TaskUpdate

__all__ = ("FilesFound", "Listened", "LogLine", "TaskEvent")


@attrs.frozen(slots=True, kw_only=True)
class LogLine:
    """Text for the task's log on the server."""

    run: str
    text: str


@attrs.frozen(slots=True, kw_only=True)
class Listened:
    """New output of a run that somebody listens to."""

    run: str
    text: str


@attrs.frozen(slots=True, kw_only=True)
class FilesFound:
    """Complete small files of a run."""

    run: str
    files: tuple[TaskFile, ...]


TaskEvent: TypeAlias = TaskUpdate | LogLine | Listened | FilesFound

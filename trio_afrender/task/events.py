"""Events that a run sends to the agent over one memory channel.

Their order is the order in which the server must get them: log lines and files before the outcome
(a `TaskUpdate` with a final status) that they belong to.
"""

from __future__ import annotations

from typing import TypeAlias

import attrs

from trio_afrender.process.interfaces import ProcessTree
from trio_afrender.protocol.messages import TaskFile, TaskUpdate

__all__ = ("FilesFound", "Listened", "LogLine", "TaskEvent", "UnkillableTree")


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

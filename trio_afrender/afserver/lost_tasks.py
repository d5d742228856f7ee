"""Tasks that the server believes here and that we know nothing of, until they are given back. Pure.

An exec is handed out once, in one answer. If that answer is lost the server waits for the task
for ever. What it believes and we do not have may still be on its way in the next answer; what has
not come with that one is lost, and an outcome "given back" makes the task ready again.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from trio_afrender.afserver.run_ids import RunIds
from trio_afrender.afserver.server_view import ServerView
from trio_afrender.protocol.messages import TaskKey, TaskStatus

__all__ = ("LostTasks",)


@attrs.define(eq=False)
class LostTasks:
    """`returns` are outcomes to tell until they are closed."""

    returns: dict[TaskKey, TaskStatus] = attrs.field(factory=dict)
    _believed: set[TaskKey] = attrs.field(factory=set)

    def update_view(self, keys: Iterable[TaskKey]) -> None:
        """The server believes in these tasks: their execs may come with its next answer."""
        self._believed.update(keys)

    def answered(self, runs: RunIds) -> bool:
        """An answer has come, and `runs` know what was in it; return whether that added any."""
        before = len(self.returns)
        for key in self._believed:
            if not runs.has(key):
                self.returns.setdefault(key, TaskStatus.GiveBack)
        self._believed.clear()
        return len(self.returns) > before

    def compared(self, belief: ServerView, runs: RunIds, stopped: Iterable[TaskKey]) -> None:
        """The server has said what it believes; `stopped` are tasks that it wants stopped here
        though we do not run them: killed, if it still believes in them."""
        for key in stopped:
            start = None if belief.tasks is None else belief.tasks.get(key)
            if belief.tasks is None or (start is not None and not runs.was(key, start)):
                self.returns[key] = TaskStatus.FinishedKilled
        for key, start in (belief.tasks or {}).items():
            if not runs.has(key) and not runs.was(key, start) and key not in self.returns:
                self._believed.add(key)

    def closed(self, keys: Iterable[TaskKey]) -> None:
        """The server has taken these outcomes."""
        for key in keys:
            self.returns.pop(key, None)

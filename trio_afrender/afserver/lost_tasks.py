"""Tasks that the server lists on this render although their exec was lost on the way. No I/O.

The server hands an exec out once, in one answer. If that answer is lost, the task stays in the
state RUN for ever: the server has no timeout for it, and a new register is refused while the render
is online. The way out is an outcome with status 15 (give back), which makes the task ready again
without an error.

A task in the server's list that is unknown here is not lost yet, because its exec may come in the
next answer. It counts as lost if that answer does not contain it.
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
    """`returns` are outcomes of lost tasks, to be sent with every update until they are closed."""

    returns: dict[TaskKey, TaskStatus] = attrs.field(factory=dict)
    _unknown: set[TaskKey] = attrs.field(factory=set)
    """Tasks in the server's list whose exec may still come with the next answer."""

    def update_view(self, keys: Iterable[TaskKey]) -> None:
        """Record tasks in the server's list whose exec may come with its next answer."""
        self._unknown.update(keys)

    def answered(self, runs: RunIds) -> bool:
        """Count tasks that the latest answer did not start as lost; return whether any was added.

        `runs` must contain what that answer started.
        """
        before = len(self.returns)
        for key in self._unknown:
            if not runs.has(key):
                self.returns.setdefault(key, TaskStatus.GiveBack)
        self._unknown.clear()
        return len(self.returns) > before

    def compared(self, view: ServerView, runs: RunIds, stopped: Iterable[TaskKey]) -> None:
        """Compare the server's list with `runs`.

        `stopped` are tasks that the server wants stopped here although they do not run here.
        """
        for key in stopped:
            start = None if view.tasks is None else view.tasks.get(key)
            # A stop of a run that has ended here crossed its outcome. Its start is known then, and
            # nothing may be reported, because the report could end the task's next run
            # (test_a_late_stop_of_a_closed_run_is_ignored). Any other listed task is one whose exec
            # was lost, and the server waits for "killed".
            if view.tasks is None or (start is not None and not runs.was(key, start)):
                self.returns[key] = TaskStatus.FinishedKilled
        for key, start in (view.tasks or {}).items():
            if not runs.has(key) and not runs.was(key, start) and key not in self.returns:
                self._unknown.add(key)

    def closed(self, keys: Iterable[TaskKey]) -> None:
        """Drop the outcomes of tasks that the server has closed."""
        for key in keys:
            self.returns.pop(key, None)

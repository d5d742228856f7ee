"""Events that wait to be sent to a render.

The queue conflates: it holds each run, request and setting once, so a render that does not read
costs no more memory than one that does.
"""

from __future__ import annotations

import attrs

from trio_afrender.jobs.message_size import weigh
from trio_afrender.protocol.messages import Events, RunRef, TaskExec

__all__ = ("RenderQueue",)

_TASKS_AT_ONCE = 32
"""Tasks in one message."""
_WEIGHT_AT_ONCE = 3 * 1024 * 1024
"""Bytes of tasks in one message."""


@attrs.define(slots=True, eq=False)
class RenderQueue:
    """Pending events of one render. Its size is bounded by the number of runs there."""

    tasks: dict[str, TaskExec] = attrs.field(factory=dict)
    closes: dict[str, RunRef] = attrs.field(factory=dict)
    stops: dict[str, RunRef] = attrs.field(factory=dict)
    suspends: dict[str, RunRef] = attrs.field(factory=dict)
    resumes: dict[str, RunRef] = attrs.field(factory=dict)
    outputs: dict[str, RunRef] = attrs.field(factory=dict)
    listens_add: dict[str, RunRef] = attrs.field(factory=dict)
    listens_rem: dict[str, RunRef] = attrs.field(factory=dict)
    instruction: tuple[str, str] = ("", "")
    settings: dict[str, float] = attrs.field(factory=dict)

    def __bool__(self) -> bool:
        return bool(
            self.tasks or self.closes or self.stops or self.suspends or self.resumes or self.outputs
            or self.listens_add or self.listens_rem or self.instruction[0] or self.settings
        )  # fmt: skip

    def forget(self, run: str) -> None:
        """Drop the requests for a run that the render no longer has."""
        for requests in (
            *(self.stops, self.suspends, self.resumes),
            *(self.outputs, self.listens_add, self.listens_rem),
        ):
            requests.pop(run, None)

    def take(self) -> Events:
        """Move everything into one message. Tasks that do not fit stay for the next one.

        Requests for a task that stays, stay too: they must not reach the render before the task.
        """
        tasks: list[TaskExec] = []
        weight = 0
        for task in self.tasks.values():
            weight += weigh(task)
            # The first task is taken whatever its weight, or it would stay for ever.
            if tasks and (len(tasks) == _TASKS_AT_ONCE or weight > _WEIGHT_AT_ONCE):
                break
            tasks.append(task)
        for task in tasks:
            del self.tasks[task.run]
        instruction, command = self.instruction
        self.instruction = ("", "")
        settings = self.settings
        self.settings = {}
        return Events(
            tasks=tuple(tasks),
            closes=self._take(self.closes),
            stops=self._take(self.stops),
            suspends=self._take(self.suspends),
            resumes=self._take(self.resumes),
            outputs=self._take(self.outputs),
            listens_add=self._take(self.listens_add),
            listens_rem=self._take(self.listens_rem),
            instruction=instruction,
            command=command,
            heartbeat_sec=settings.get("heartbeat_sec", 0),
            resources_update_period=int(settings.get("resources_update_period", 0)),
            zombie_time=settings.get("zombie_time", 0),
            exit_no_task_time=settings.get("exit_no_task_time", 0),
        )

    def _take(self, refs: dict[str, RunRef]) -> tuple[RunRef, ...]:
        taken = tuple(ref for run, ref in refs.items() if run not in self.tasks)
        for ref in taken:
            del refs[ref.run]
        return taken

"""The state of the fake Afanasy server: renders, tasks, and what each message does to them.

The rules are those observed on the real server, including the unexpected ones that a render has to
handle: what the server accepts unchecked, what it forgets, what it sends only once. No I/O and no
clock: times are parameters, in seconds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import attrs

from trio_afrender.protocol.afanasy import (
    RenderEvents,
    RenderId,
    RenderRegister,
    RenderUpdate,
    TaskUp,
)
from trio_afrender.protocol.messages import TaskExec, TaskKey, TaskStatus
from trio_afrender.testing.fake_afserver.records import (
    NIMBY,
    NIMBY_OWNER,
    ONLINE,
    PAUSED,
    NativeRender,
    NativeState,
    NativeTask,
)

__all__ = ("FakeAfserverState",)

RECONNECT, EXIT = -1, -2
"""Ids in answers that refuse a render: register again, exit."""
JUNK = (32745, -1140755952, 51, 785105206)
"""The settings in an answer with a negative id: the server sends uninitialized memory."""
ZOMBIE_TIME = 16.0
RECONNECT_TIME = 30.0
"""Seconds that a restarted server waits for the renders of its running tasks."""


@attrs.define(eq=False, kw_only=True)
class FakeAfserverState:
    """The farm of the fake server."""

    renders: dict[int, NativeRender] = attrs.field(factory=dict)
    tasks: dict[TaskKey, NativeTask] = attrs.field(factory=dict)
    outputs: dict[TaskKey, str] = attrs.field(factory=dict)
    """Outputs of running tasks that were asked for."""
    settings: tuple[int, int, int, int] = (-1, -1, -1, -1)
    """Of the pool: heartbeat_sec, resources_update_period, zombie_time, exit_no_task_time."""
    epoch: int = 1_800_000_000
    """Unix time at second 0."""
    _queue: deque[TaskUp] = attrs.field(factory=deque)

    # -- messages of renders ---------------------------------------------------------------------

    def register(self, message: RenderRegister, now: float) -> RenderEvents:
        known = next((each for each in self.renders.values() if each.name == message.name), None)
        if known is not None and known.online:
            return _refuse(EXIT, "Render with the same name exists.")
        if known is None:
            if message.id in self.renders:
                return _refuse(EXIT, "Unable to add render. See server log for details.")
            number = message.id or max(self.renders, default=0) + 1
            render = NativeRender(
                id=number,
                name=message.name,
                state=message.state | ONLINE,
                register=message,
                updated=now,
            )
            # The real server lists the tasks of an unknown render, but never resumes them.
            render.tasks = [task.key for task in message.tasks]
            self.renders[number] = render
            return self._connected(render, "New render registered.")
        known.state |= ONLINE
        known.register, known.updated = message, now
        for task in message.tasks:
            found = self.tasks.get(task.key)
            if found is not None and found.state is NativeState.RECONNECT:
                self._begin(found, known, task)
            elif found is not None:  # it does not wait for its render any more
                known.add("stops", task.key)
        return self._connected(known, "Render became online.")

    def _connected(self, render: NativeRender, log: str) -> RenderEvents:
        heartbeat, period, zombie, no_task = self.settings
        render.events = attrs.evolve(
            render.events,
            heartbeat_sec=heartbeat,
            resources_update_period=period,
            zombie_time=zombie,
            exit_no_task_time=no_task,
            log=log,
        )
        events = render.take_events()
        assert isinstance(events, RenderEvents)  # noqa: S101 - it has a log
        return events

    def update(self, message: RenderUpdate, now: float) -> RenderEvents | RenderId:
        render = self.renders.get(message.id)
        if render is None:
            return _refuse(RECONNECT, "No such render.")
        if not render.online:
            return _refuse(RECONNECT, "Render is offline.")
        render.updated = now
        # Every outcome is closed at once, valid or not: the server examines it in its next cycle.
        render.add("closes", *(up.key for up in message.taskups if up.status > TaskStatus.Warning))
        self._queue.extend(message.taskups)
        self.outputs.update((each.key, each.text) for each in message.outputs)
        return render.take_events()

    def deregister(self, number: int) -> bool:
        render = self.renders.get(number)
        if render is None:
            return False
        self._take_offline(render)
        return True

    # -- the cycle, once a second ----------------------------------------------------------------

    def turn(self, now: float) -> None:
        """Apply reported states, take silent renders offline, and hand out tasks."""
        while self._queue:
            self._apply(self._queue.popleft())
        zombie = self.settings[2] if self.settings[2] > 0 else ZOMBIE_TIME
        for render in self.renders.values():
            if render.online and render.updated < now - zombie:
                self._take_offline(render)
        for task in self.tasks.values():
            if (
                task.state is NativeState.RECONNECT and now - task.waits_since > RECONNECT_TIME
            ) or (task.state is NativeState.ERROR and task.errors <= task.retries):
                task.state = NativeState.READY
        for task in self.tasks.values():
            if task.state is not NativeState.READY:
                continue
            for render in self.renders.values():
                free = render.online and len(render.tasks) < render.max_tasks
                busy = NIMBY | PAUSED
                if task.exec.user_name != render.register.user_name:
                    busy |= NIMBY_OWNER
                if free and not render.state & busy:
                    start, flags = self.epoch + int(now), int(task.listening)
                    sent = attrs.evolve(task.exec, time_start=start, flags=flags)
                    self._begin(task, render, sent)
                    break

    def _begin(self, task: NativeTask, render: NativeRender, sent: TaskExec) -> None:
        task.exec = attrs.evolve(sent, run="")
        task.state, task.render, task.stopping = NativeState.RUNNING, render.id, None
        task.sessions += 1
        task.percent, task.activity = 0, ""
        render.tasks.append(task.key)
        render.add_exec(task.exec)

    # -- states that renders have reported -------------------------------------------------------

    def _apply(self, up: TaskUp) -> None:
        task = self.tasks.get(up.key)
        if task is not None:
            task.statuses.append(up.status)
        if task is None or task.state is not NativeState.RUNNING:
            closed = (
                (TaskStatus.Percent,) if task is None else (TaskStatus.Percent, TaskStatus.Warning)
            )
            if up.status in closed and up.client_id in self.renders:
                self.renders[up.client_id].add("closes", up.key)
            return
        if up.client_id == task.render:  # a state of another render is ignored, but closed
            task.activity = up.activity or task.activity
            task.resources = up.resources or task.resources
            task.report = up.report or task.report
            if up.status in (TaskStatus.Percent, TaskStatus.Warning):
                task.percent = up.percent
            elif up.status in (5, 11, 12, 20):
                self._end(task, NativeState.SKIPPED if up.status == 20 else NativeState.DONE)
            elif up.status in (14, 15, 16):
                self._end(task, NativeState.READY)
            elif up.status in (6, 7, 8, 9, 10, 13, 23):
                stopped = task.stopping
                task.errors += stopped is None
                self._end(task, stopped or NativeState.ERROR)
            # With 17, 18, 19, 21, 24, 25 and 26 the task is closed and stays RUNNING for ever.
        if up.log:
            task.log.append(up.log)
        if up.data or up.log:
            task.output = up.data or up.log.encode("utf-8", "surrogateescape")
        task.listened += up.listened
        task.parsed_files = up.parsed_files or task.parsed_files
        task.files.update((file.name, file.data) for file in up.files)

    def _end(self, task: NativeTask, state: NativeState) -> None:
        render = self.renders.get(task.render)
        if render is not None:
            render.tasks = [key for key in render.tasks if key != task.key]
            pending = tuple(each for each in render.events.tasks if each.key != task.key)
            render.events = attrs.evolve(render.events, tasks=pending)
        task.state, task.render, task.stopping = state, 0, None

    def _take_offline(self, render: NativeRender) -> None:
        for key in list(render.tasks):
            task = self.tasks.get(key)
            if task is not None and task.render == render.id:
                self._end(task, NativeState.READY)
        render.state &= ~ONLINE
        render.events = attrs.evolve(render.events, tasks=())

    # -- requests of users -----------------------------------------------------------------------

    def stop(self, key: TaskKey, then: NativeState) -> None:
        """Ask the render once to stop a task, which runs until its outcome arrives."""
        task = self.tasks[key]
        render = self.renders.get(task.render)
        if task.state is not NativeState.RUNNING or task.stopping is not None:
            return
        task.stopping = then
        if render is not None and render.online:
            render.add("stops", key)

    def restart(self, now: float, *, keep: bool = True) -> None:
        """Restart the server with the same store, or without `keep` with an empty one."""
        self._queue.clear()
        if not keep:
            self.renders.clear()
            self.tasks.clear()
        for render in self.renders.values():
            render.state &= ~ONLINE
            render.tasks.clear()
            render.events = RenderEvents(id=render.id)
        for task in self.tasks.values():
            if task.state is NativeState.RUNNING:
                task.state, task.render, task.waits_since = NativeState.RECONNECT, 0, now

    def find(self, ids: Iterable[int], mask: str) -> tuple[NativeRender, ...]:
        """Find renders by ids, without ids by the part `mask` of their names."""
        wanted = set(ids)
        if wanted:
            return tuple(each for each in self.renders.values() if each.id in wanted)
        return tuple(each for each in self.renders.values() if mask in each.name)


def _refuse(number: int, log: str) -> RenderEvents:
    heartbeat, period, zombie, no_task = JUNK
    return RenderEvents(
        id=number,
        heartbeat_sec=heartbeat,
        resources_update_period=period,
        zombie_time=zombie,
        exit_no_task_time=no_task,
        log=log,
    )

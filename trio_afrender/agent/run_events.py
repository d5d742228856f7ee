"""What happens to the runs of an agent, as a stream for the program that embeds it.

A reader that is slow holds up neither the agent nor a task. What it has not read is bounded:

- Of progress only the newest of each run is kept, and the outcome replaces it.
- Log lines are dropped from the oldest on, beyond `MAX_LOG_LINES` and `MAX_LOG_SIZE`.
- The output inside outcomes is left out beyond `MAX_OUTPUT`.
- Outcomes are never dropped. At `MAX_OUTCOMES` of them the agent takes no new tasks until the reader
  has read half of them, so there are at most so many more as tasks were running.

Each event has the number of what was left out before it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self, TypeAlias
from weakref import WeakSet

import attrs
import trio

from trio_afrender.async_helpers import RepeatedEvent
from trio_afrender.protocol.messages import TaskExec, TaskKey, TaskUpdate

__all__ = (
    "MAX_LOG_LINES",
    "MAX_LOG_SIZE",
    "MAX_OUTCOMES",
    "MAX_OUTPUT",
    "AgentEvent",
    "AgentEvents",
    "RunEventHub",
    "RunLogLine",
    "RunOutcome",
    "RunProgress",
    "RunStarted",
)

MAX_OUTCOMES = 10_000
"""Unread outcomes of one reader at which the agent takes no new tasks."""
MAX_LOG_LINES = 1000
MAX_LOG_SIZE = 1024 * 1024
"""Characters of unread log lines."""
MAX_OUTPUT = 16 * 1024 * 1024
"""Characters of output in unread outcomes."""


@attrs.frozen(kw_only=True)
class RunStarted:
    """The agent has taken a task. Its process starts when plugins, GPUs and older runs permit."""

    run: str
    key: TaskKey
    task: TaskExec
    continued: bool
    """The run is older than the stream: it ran already, or an earlier agent started it."""


@attrs.frozen(kw_only=True)
class RunProgress:
    """The newest progress of a run."""

    run: str
    key: TaskKey
    update: TaskUpdate
    missed: int = 0
    """Older progress of this run that was not read."""


@attrs.frozen(kw_only=True)
class RunLogLine:
    """A line for the task's log: reasons, notes of plugins, peak usage. Not what the task prints."""

    run: str
    key: TaskKey
    text: str
    missed: int = 0
    """Lines of this run that were left out before this one."""


@attrs.frozen(kw_only=True)
class RunOutcome:
    """A run has ended, and no process of it is left. The last event of its run."""

    run: str
    key: TaskKey
    task: TaskExec
    update: TaskUpdate
    """Its status, exit code, reasons, and head and tail of the output."""
    reported: bool = True
    """False: the server had taken the run away, so it gets no report."""
    missed_lines: int = 0
    """Log lines of this run that were left out and are not counted by an earlier event."""
    missed_output: int = 0
    """Characters of `update.output` that were left out, which are all of it."""


AgentEvent: TypeAlias = RunStarted | RunProgress | RunLogLine | RunOutcome


class AgentEvents:
    """The events of one reader: ``with handle.events() as events: async for event in events``.

    It ends after the agent, when everything is read. A run without an outcome was left to the
    supervisor then, or cancelled with the agent. Leaving the context drops what is unread.
    """

    def __init__(self, note_count: Callable[[], None]) -> None:
        self._note_count = note_count
        self._queue: OrderedDict[int, AgentEvent] = OrderedDict()
        self._next = 0
        self._progress: dict[str, int] = {}
        """The place in the queue of each run's progress."""
        self._lines: deque[int] = deque()
        """The places of log lines, oldest first. Those that were read are gone from the queue."""
        self._line_count = 0
        self._line_size = 0
        self._missed_lines: dict[str, int] = {}
        self._output_size = 0
        self._outcomes = 0
        self._closed = False
        self._more = RepeatedEvent()

    @property
    def unread_outcomes(self) -> int:
        """How many outcomes wait for the reader."""
        return self._outcomes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop what is unread and end the stream. May be called again."""
        self._queue.clear()
        self._progress.clear()
        self._lines.clear()
        self._missed_lines.clear()
        self._line_count = self._line_size = self._output_size = self._outcomes = 0
        self.end()
        self._note_count()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AgentEvent:
        await trio.lowlevel.checkpoint()
        while not self._queue:
            if self._closed:
                raise StopAsyncIteration
            await self._more.wait()
        _, event = self._queue.popitem(last=False)
        match event:
            case RunProgress():
                del self._progress[event.run]
            case RunLogLine():
                self._lines.popleft()  # Lines are read in their order: this was the oldest.
                self._forget_line(event)
                return attrs.evolve(event, missed=self._missed_lines.pop(event.run, 0))
            case RunOutcome():
                self._outcomes -= 1
                self._output_size -= len(event.update.output)
                self._note_count()
                return attrs.evolve(event, missed_lines=self._missed_lines.pop(event.run, 0))
            case RunStarted():
                pass
        return event

    # -- the hub's side -------------------------------------------------------------------------

    def end(self) -> None:
        """Let the stream end when everything is read."""
        self._closed = True
        self._more.set()

    def put(self, event: AgentEvent) -> None:
        """Add an event, and drop what it replaces or what is too much."""
        if self._closed:
            return
        match event:
            case RunStarted():
                self._append(event)
            case RunProgress():
                if (place := self._progress.get(event.run)) is None:
                    self._progress[event.run] = self._append(event)
                else:
                    older = self._queue[place]
                    assert isinstance(older, RunProgress)  # noqa: S101 - `_progress` holds these alone
                    self._queue[place] = attrs.evolve(event, missed=older.missed + 1)
            case RunLogLine():
                self._lines.append(self._append(event))
                self._line_count += 1
                self._line_size += len(event.text)
                while self._line_count > MAX_LOG_LINES or self._line_size > MAX_LOG_SIZE:
                    dropped = self._queue.pop(self._lines.popleft())
                    assert isinstance(dropped, RunLogLine)  # noqa: S101 - as above
                    self._forget_line(dropped)
                    self._missed_lines[dropped.run] = self._missed_lines.get(dropped.run, 0) + 1
            case RunOutcome():
                if (place := self._progress.pop(event.run, None)) is not None:
                    del self._queue[place]
                size = len(event.update.output)
                if self._output_size + size > MAX_OUTPUT:
                    update = attrs.evolve(event.update, output="")
                    event = attrs.evolve(event, update=update, missed_output=size)
                self._output_size += len(event.update.output)
                self._outcomes += 1
                self._append(event)
                self._note_count()
        self._more.set()

    def _append(self, event: AgentEvent) -> int:
        self._next += 1
        self._queue[self._next] = event
        return self._next

    def _forget_line(self, event: RunLogLine) -> None:
        self._line_count -= 1
        self._line_size -= len(event.text)


class RunEventHub:
    """Hands the events of one agent to its readers. `pause` is called with why the agent has to take
    no new tasks, and with '' when it may again."""

    def __init__(self, pause: Callable[[str], None]) -> None:
        self._pause = pause
        self._paused = False
        # A stream that a program has dropped without closing it is gone.
        self._streams: WeakSet[AgentEvents] = WeakSet()
        self._ended = False

    def open(self, running: Iterable[tuple[TaskExec, TaskUpdate | None]]) -> AgentEvents:
        """Return a stream that begins with the runs that are there already."""
        stream = AgentEvents(self.check_backlog)
        self._streams.add(stream)
        for task, update in running:
            stream.put(RunStarted(run=task.run, key=task.key, task=task, continued=True))
            if update is not None:
                stream.put(RunProgress(run=task.run, key=task.key, update=update))
        if self._ended:
            stream.end()
        return stream

    def started(self, task: TaskExec, *, continued: bool) -> None:
        """Note a run that the agent has taken."""
        if self._streams:
            self._put(RunStarted(run=task.run, key=task.key, task=task, continued=continued))

    def progressed(self, update: TaskUpdate) -> None:
        """Note the progress of a run."""
        if self._streams:
            self._put(RunProgress(run=update.run, key=update.key, update=update))

    def logged(self, task: TaskExec, text: str) -> None:
        """Note a text for the log of a task."""
        if self._streams:
            for line in text.splitlines():
                self._put(RunLogLine(run=task.run, key=task.key, text=line))

    def ended(self, update: TaskUpdate, task: TaskExec, *, reported: bool) -> None:
        """Note the outcome of a run."""
        if self._streams:
            self._put(
                RunOutcome(run=task.run, key=task.key, task=task, update=update, reported=reported)
            )

    def close(self) -> None:
        """End all streams when they are read, because the agent has ended."""
        self._ended = True
        for stream in list(self._streams):
            stream.end()

    def _put(self, event: AgentEvent) -> None:
        for stream in list(self._streams):
            stream.put(event)

    def check_backlog(self) -> None:
        """Pause the agent or let it continue. Call it now and then: a dropped stream calls nothing."""
        unread = max((stream.unread_outcomes for stream in self._streams), default=0)
        if not self._paused and unread >= MAX_OUTCOMES:
            self._paused = True
            self._pause(f"a reader of the agent's events has {unread} outcomes to read")
        elif self._paused and unread <= MAX_OUTCOMES // 2:
            self._paused = False
            self._pause("")

"""Map the server's task keys to runs: Afanasy's protocol names tasks only. No I/O.

Job ids are reused, and a task may be started again a second after its end, so a key identifies a
task, not a run. These rules assign the runs:

- An exec in the answer to a register, of a task that the register listed, resumes that run.
- An exec in the answer to an update always starts a new run and ends older runs of its key.
- A stop in the answer to a register withdraws the task. The server may start the same key again a
  second later, and a late report of the old run would end that new run. So nothing is reported.
- A close concerns the run that its key had before this message. If it comes together with an exec
  of its key, it is about an earlier run. An error in this direction is repaired, because the server
  closes the new run again at its next report; in the other direction the task would stay in the
  state RUN for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from trio_afrender.afserver.server_view import ServerView
from trio_afrender.protocol.afanasy import RenderEvents
from trio_afrender.protocol.messages import (
    Events,
    Register,
    Registered,
    RunRef,
    TaskExec,
    TaskKey,
)

__all__ = ("RegisterResult", "RunIds", "UpdateResult")

_MAX_CLOSED = 256
"""Closed runs whose start time is stored, to tell a late stop from a stop of a lost exec."""


@attrs.frozen(slots=True, kw_only=True)
class RegisterResult:
    """The answer to a register, and the events that it contains."""

    registered: Registered
    events: Events | None = None
    unknown: frozenset[TaskKey] = frozenset()
    """Tasks that the server lists on this render and that are unknown here."""


@attrs.frozen(slots=True, kw_only=True)
class UpdateResult:
    """The events in the answer to an update."""

    events: Events | None = None
    unknown: frozenset[TaskKey] = frozenset()
    """Tasks that the server wants stopped and that do not run here."""


@attrs.define(eq=False)
class RunIds:
    """The newest run of each task. `make_run` returns the id of a new run."""

    make_run: Callable[[TaskExec], str]
    _tasks: dict[TaskKey, TaskExec] = attrs.field(factory=dict)
    _keys: dict[str, TaskKey] = attrs.field(factory=dict)
    _ended: set[str] = attrs.field(factory=set)
    """Runs of the register that have an outcome."""
    _superseded: tuple[str, ...] = ()
    """Runs of the register whose task has a newer run."""
    _closed: dict[TaskKey, int] = attrs.field(factory=dict)
    """The start of the latest closed run of each task, in Unix time."""

    def take(self, register: Register) -> None:
        """Start with the runs that a render lists. Of two runs of one task the running one counts."""
        superseded = []
        # The running ones come last, so that they replace undelivered ones of the same key.
        for task in (*register.undelivered, *register.running):
            older = self._tasks.get(task.key)
            if older is not None and older.run != task.run:
                superseded.append(older.run)
                self._keys.pop(older.run, None)
            self._tasks[task.key] = task
            self._keys[task.run] = task.key
        self._ended = {task.run for task in register.undelivered}
        self._superseded = tuple(superseded)

    @property
    def tasks(self) -> tuple[TaskExec, ...]:
        """The tasks to list in a register: all that run or are not closed yet."""
        return tuple(self._tasks.values())

    def key_of(self, run: str) -> TaskKey | None:
        """Return the task of a run; None if the server has ended that run."""
        return self._keys.get(run)

    def has(self, key: TaskKey) -> bool:
        """Return whether the task has a run that is not closed."""
        return key in self._tasks

    def was(self, key: TaskKey, start: int) -> bool:
        """Return whether the latest closed run of `key` started at `start` (Unix time)."""
        return self._closed.get(key) == start

    # -- answers to a register ------------------------------------------------------------------

    def registered(self, answer: RenderEvents, *, listed: bool) -> RegisterResult:
        """Apply the answer to a register. Not `listed`: the register contained no tasks, or the
        server has ignored them."""
        if not listed:
            stop = (*self._superseded, *self._drop(self._tasks))
            resume: tuple[str, ...] = ()
            tasks = answer.tasks
        else:
            again = {task.key for task in answer.tasks}
            # A task that is listed and stopped at once was resumed first: the server waits for its
            # outcome, so the stop stays an ordinary one
            # (test_a_task_that_is_resumed_and_stopped_is_stopped_with_a_report).
            withdrawn = [key for key in answer.stops if key in self._tasks and key not in again]
            stop = (*self._superseded, *self._drop(withdrawn))
            # A task that the answer does not name is resumed as well. If its job is gone, the
            # server has dropped it silently from the register and closes it at its next report.
            resume = tuple(task.run for task in self._tasks.values())
            # The answer repeats resumed tasks, which must not be started a second time.
            tasks = tuple(task for task in answer.tasks if task.key not in self._tasks)
        result = self.apply_update_answer(attrs.evolve(answer, tasks=tasks), answers_register=True)
        return RegisterResult(
            registered=Registered(id=answer.id, resume=resume, stop=stop, log=answer.log),
            events=result.events,
        )

    def continue_runs(self, view: ServerView) -> RegisterResult:
        """Continue without a register, with the tasks that the server lists."""
        if view.tasks is None:
            # The list could not be read, which says nothing about the runs.
            resume, gone, unknown = tuple(self._tasks.values()), [], frozenset[TaskKey]()
        else:
            starts = view.tasks
            # Another start time of the same key is another run: the outcome of this one arrived,
            # and the task was handed out again in an answer that was lost.
            resume = tuple(t for t in self.tasks if starts.get(t.key) == t.time_start)
            resumed = {task.key for task in resume}
            gone = [task for task in self.tasks if task.key not in resumed]
            unknown = frozenset(
                key
                for key, start in starts.items()
                if key not in resumed and not self.was(key, start)
            )
        # If the server does not list a task any more, it has received its outcome or, without one,
        # has withdrawn the task.
        closes = tuple(RunRef.of(task) for task in gone if task.run in self._ended)
        stop = [task.run for task in gone if task.run not in self._ended]
        self._drop([task.key for task in gone])
        registered = Registered(
            id=view.id,
            resume=tuple(task.run for task in resume),
            stop=(*self._superseded, *stop),
        )
        events = Events(closes=closes) if closes else None
        return RegisterResult(registered=registered, events=events, unknown=unknown)

    # -- answers to an update -------------------------------------------------------------------

    def apply_update_answer(
        self, answer: RenderEvents, *, answers_register: bool = False
    ) -> UpdateResult:
        """Apply the answer to an update; return its events with a run in place of each key."""
        # Starts come first: one message may contain the start and the stop of a task, and the
        # server means the new run (test_a_start_and_a_stop_in_one_message_are_of_one_run).
        older: list[RunRef] = []
        tasks: list[TaskExec] = []
        for task in answer.tasks:
            if (ref := self._ref(task.key)) is not None:
                older.append(ref)
                self._keys.pop(ref.run, None)
            new = attrs.evolve(task, run=self.make_run(task))
            self._tasks[new.key] = new
            self._keys[new.run] = new.key
            self._closed.pop(new.key, None)
            tasks.append(new)
        started = {task.key for task in tasks}
        closes = self._refs(key for key in answer.closes if key not in started)
        # A stop together with a close crossed the outcome: nothing runs, and nothing is missing.
        unknown = frozenset(key for key in answer.stops if not self.has(key)) - set(answer.closes)
        events = Events(
            tasks=tuple(tasks),
            closes=(*older, *closes),
            stops=self._refs(answer.stops),
            # The server waits for the output of an unknown task too. The made-up run gets the reply
            # that the task does not run here.
            outputs=tuple(
                self._ref(key) or RunRef(run=f"unknown-{key}", **key._asdict())
                for key in answer.outputs
            ),
            listens_add=self._refs(answer.listens_add),
            listens_rem=self._refs(answer.listens_rem),
            instruction=answer.instruction,
            command=answer.command,
            log="" if answers_register else answer.log,
        )
        self._drop(key for key in answer.closes if key not in started)
        return UpdateResult(
            events=None if events == Events() else events,
            unknown=frozenset() if answers_register else unknown,
        )

    def _ref(self, key: TaskKey) -> RunRef | None:
        task = self._tasks.get(key)
        return None if task is None else RunRef.of(task)

    def _refs(self, keys: Iterable[TaskKey]) -> tuple[RunRef, ...]:
        return tuple(ref for key in keys if (ref := self._ref(key)) is not None)

    def _drop(self, keys: Iterable[TaskKey]) -> tuple[str, ...]:
        """End the runs of tasks, and return them."""
        dropped = []
        for key in tuple(keys):
            task = self._tasks.pop(key, None)
            if task is not None:
                self._keys.pop(task.run, None)
                self._closed[key] = task.time_start
                dropped.append(task.run)
        while len(self._closed) > _MAX_CLOSED:
            del self._closed[next(iter(self._closed))]
        return tuple(dropped)

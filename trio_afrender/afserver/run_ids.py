"""Which run each task of the server is: the protocol knows tasks alone. Pure.

Ids of jobs are reused, and a task may come again a second after it ended, so a key names a task
and not a run. The rules that make runs of keys:

- An exec in the answer to a register, of a task that we listed, is that task going on.
- An exec in the answer to an update is always a new run, and older runs of its key are over.
- A stop in the answer to a register takes the task away: the server may give it to somebody else
  under the same key a second later, so nothing is ever reported of it.
- A close means the run of its key that was there before this message: one that comes together
  with an exec of its key is about an earlier run. Were it about the new one, the next word about
  that one would bring another close; the other way round a task would stay running for ever.
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

_REMEMBERED = 256
"""Closed runs whose start is remembered, to tell a late stop from one for a lost exec."""


@attrs.frozen(slots=True, kw_only=True)
class RegisterResult:
    """What the answer to a register says: the answer itself, and what came along with it."""

    registered: Registered
    events: Events | None = None
    unknown: frozenset[TaskKey] = frozenset()
    """Tasks that the server believes here and we know nothing of."""


@attrs.frozen(slots=True, kw_only=True)
class UpdateResult:
    """What the answer to an update says."""

    events: Events | None = None
    unknown: frozenset[TaskKey] = frozenset()
    """Tasks to stop that we do not run."""


@attrs.define(eq=False)
class RunIds:
    """The newest run of each task. `make_run` names a new one."""

    make_run: Callable[[TaskExec], str]
    _tasks: dict[TaskKey, TaskExec] = attrs.field(factory=dict)
    _keys: dict[str, TaskKey] = attrs.field(factory=dict)
    _over: set[str] = attrs.field(factory=set)
    _superseded: tuple[str, ...] = ()
    _closed: dict[TaskKey, int] = attrs.field(factory=dict)

    def take(self, register: Register) -> None:
        """Begin with what a render lists; of two runs of one task the running one counts."""
        superseded = []
        for task in (*register.undelivered, *register.running):
            older = self._tasks.get(task.key)
            if older is not None and older.run != task.run:
                superseded.append(older.run)
                self._keys.pop(older.run, None)
            self._tasks[task.key] = task
            self._keys[task.run] = task.key
        self._over = {task.run for task in register.undelivered}
        self._superseded = tuple(superseded)

    @property
    def tasks(self) -> tuple[TaskExec, ...]:
        """What to list in a register."""
        return tuple(self._tasks.values())

    def key_of(self, run: str) -> TaskKey | None:
        """The task of a run, None when that run is over for the server."""
        return self._keys.get(run)

    def has(self, key: TaskKey) -> bool:
        return key in self._tasks

    def was(self, key: TaskKey, start: int) -> bool:
        """Whether the run of `key` that started then was ours and is closed."""
        return self._closed.get(key) == start

    # -- answers to a register ------------------------------------------------------------------

    def registered(self, said: RenderEvents, *, listed: bool) -> RegisterResult:
        """Sort what the answer to a register says. Not `listed`: it was sent without our tasks."""
        if not listed:
            stop = (*self._superseded, *self._drop(self._tasks))
            heard = self.apply_update_answer(said, answers_register=True)
            return _make_answer(said, resume=(), stop=stop, events=heard.events)
        again = {task.key for task in said.tasks}
        gone = [key for key in said.stops if key in self._tasks and key not in again]
        stop = (*self._superseded, *self._drop(gone))
        resume = tuple(task.run for task in self._tasks.values())
        fresh = tuple(task for task in said.tasks if task.key not in self._tasks)
        heard = self.apply_update_answer(attrs.evolve(said, tasks=fresh), answers_register=True)
        return _make_answer(said, resume=resume, stop=stop, events=heard.events)

    def continue_runs(self, belief: ServerView) -> RegisterResult:
        """Go on without a register, with a server that says what it believes."""
        if belief.tasks is None:
            resume, gone, unknown = tuple(self._tasks.values()), [], frozenset[TaskKey]()
        else:
            starts = belief.tasks
            resume = tuple(t for t in self.tasks if starts.get(t.key) == t.time_start)
            kept = {task.key for task in resume}
            gone = [task for task in self.tasks if task.key not in kept]
            unknown = frozenset(
                key for key, start in starts.items() if key not in kept and not self.was(key, start)
            )
        # An outcome that the server no longer waits for has arrived; a run, it has taken away.
        closes = tuple(RunRef.of(task) for task in gone if task.run in self._over)
        stop = [task.run for task in gone if task.run not in self._over]
        self._drop([task.key for task in gone])
        said = Registered(
            id=belief.id,
            resume=tuple(task.run for task in resume),
            stop=(*self._superseded, *stop),
        )
        events = Events(closes=closes) if closes else None
        return RegisterResult(registered=said, events=events, unknown=unknown)

    # -- answers to an update -------------------------------------------------------------------

    def apply_update_answer(
        self, said: RenderEvents, *, answers_register: bool = False
    ) -> UpdateResult:
        """Turn events into those of the session, in which everything has its run."""
        older: list[RunRef] = []
        tasks = tuple(self._begin(task, older) for task in said.tasks)
        begun = {task.key for task in tasks}
        closes = self._refs(key for key in said.closes if key not in begun)
        unknown = frozenset(key for key in said.stops if not self.has(key)) - set(said.closes)
        events = Events(
            tasks=tasks,
            closes=(*older, *closes),
            stops=self._refs(said.stops),
            outputs=tuple(self._ref(key) or _unknown_run(key) for key in said.outputs),
            listens_add=self._refs(said.listens_add),
            listens_rem=self._refs(said.listens_rem),
            instruction=said.instruction,
            command=said.command,
            log="" if answers_register else said.log,
        )
        self._drop(key for key in said.closes if key not in begun)
        return UpdateResult(
            events=None if events == Events() else events,
            unknown=frozenset() if answers_register else unknown,
        )

    def _begin(self, task: TaskExec, older: list[RunRef]) -> TaskExec:
        if (ref := self._ref(task.key)) is not None:
            older.append(ref)
            self._keys.pop(ref.run, None)
        task = attrs.evolve(task, run=self.make_run(task))
        self._tasks[task.key] = task
        self._keys[task.run] = task.key
        self._closed.pop(task.key, None)
        return task

    def _ref(self, key: TaskKey) -> RunRef | None:
        task = self._tasks.get(key)
        return None if task is None else RunRef.of(task)

    def _refs(self, keys: Iterable[TaskKey]) -> tuple[RunRef, ...]:
        return tuple(ref for key in keys if (ref := self._ref(key)) is not None)

    def _drop(self, keys: Iterable[TaskKey]) -> tuple[str, ...]:
        dropped = []
        for key in tuple(keys):
            task = self._tasks.pop(key, None)
            if task is not None:
                self._keys.pop(task.run, None)
                self._closed[key] = task.time_start
                dropped.append(task.run)
        while len(self._closed) > _REMEMBERED:
            del self._closed[next(iter(self._closed))]
        return tuple(dropped)


def _make_answer(
    said: RenderEvents, *, resume: tuple[str, ...], stop: tuple[str, ...], events: Events | None
) -> RegisterResult:
    registered = Registered(id=said.id, resume=resume, stop=stop, log=said.log)
    return RegisterResult(registered=registered, events=events)


def _unknown_run(key: TaskKey) -> RunRef:
    """For a question about a task that we do not run: it is to be answered all the same."""
    return RunRef(run=f"unknown-{key}", **key._asdict())

"""Everything that is to be delivered to the server. No clock, no I/O: the session sends it.

Rules, each tested as a property:

- Progress is conflated: only the newest of each run is kept.
- Log lines, files and listened text are not. Each entry has a number `n` within its run, so that
  the server applies it once however often it is sent. `acked` removes them.
- An outcome is removed by `closed` alone. Nothing of its run is sent after it, and it is not sent
  before earlier entries of its run.
- After a lost link everything that was not acknowledged is sent again, in the old order.
- No update is larger than `limit` bytes of JSON.

Contents of files are elsewhere (`task.file_spool`): what is taken has them without, unless the disk
refused them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from itertools import pairwise

import attrs

from trio_afrender.agent.journal_format import (
    Journal,
    NoJournal,
    PendingOutcome,
    PendingState,
    describe_entry,
    make_record,
)
from trio_afrender.protocol.messages import (
    AskedOutput,
    Events,
    FilesEntry,
    HostResources,
    ListenedEntry,
    LogEntry,
    RunRef,
    TaskExec,
    TaskFile,
    TaskUpdate,
    Update,
)
from trio_afrender.task.collected_files import MAX_FILE
from trio_afrender.task.run_state import MAX_PARSED_FILES
from trio_afrender.text import fit_names, json_size

__all__ = ("Outbox",)

MAX_UPDATE = 7 * 1024 * 1024
"""Bytes of an update's content. The frame's limit is 8 MiB; the rest is for the small fields."""
MAX_UPDATE_FILES = 3 * 1024 * 1024
"""Bytes of the files in one update, before base64."""
MESSAGE_OVERHEAD = 4096
"""Bytes of a message without its long texts, at most."""
MAX_LISTENED = 1024 * 1024
"""Characters of listened text that are kept a run while the link is down; older text is dropped."""
MAX_GAP_MARK = 60
"""Bytes of the mark of what was dropped."""

RESTART_GAP = 1_000_000
"""Added to a run's entry numbers after a restart of the agent: listened text, which is not
journaled, may have used the next numbers already."""


@attrs.define(eq=False)
class _Outcome:
    update: TaskUpdate
    task: TaskExec | None
    position: int = 0
    """The journal's position after its record. The outcome is sent once that is durable."""
    sent: bool = False
    cost: int = attrs.field(init=False)
    """Bytes in a message, at most."""

    @cost.default
    def _count_cost(self) -> int:
        return json_size(self.update.output) + _small_cost(self.update)


@attrs.define(eq=False)
class _Queued:
    entry: PendingOutcome
    cost: int
    gap: int = 0
    """Characters of listened text that were dropped before it."""


@attrs.define(eq=False)
class Outbox:
    """The agent's side of acknowledged delivery."""

    limit: int = MAX_UPDATE
    journal: Journal = attrs.field(factory=NoJournal)
    ended: Callable[[TaskUpdate, TaskExec | None], None] = lambda _update, _task: None
    """Called with each new outcome."""
    delivered: Callable[[str], None] = lambda _run: None
    """Called with each run that the server has closed."""
    _progress: dict[str, TaskUpdate] = attrs.field(factory=dict)
    _known: set[str] = attrs.field(factory=set)
    """Runs whose start has been sent in this session."""
    _queue: deque[_Queued] = attrs.field(factory=deque)
    _listened: dict[str, int] = attrs.field(factory=dict)
    """Characters of listened text in the queue, by run."""
    _in_flight: deque[tuple[int, list[_Queued]]] = attrs.field(factory=deque)
    """Updates that were sent and not acknowledged: their `seq` and their entries."""
    _outcomes: dict[str, _Outcome] = attrs.field(factory=dict)
    _outcomes_size: int = 0
    """Bytes of the held outcomes."""
    _asked: deque[AskedOutput] = attrs.field(factory=deque)
    _numbers: dict[str, int] = attrs.field(factory=dict)
    """The last entry number of each run."""
    _resources: HostResources | None = None
    _state: int | None = None

    # -- input ----------------------------------------------------------------------------------

    def put_progress(self, update: TaskUpdate) -> None:
        """Store the newest progress. The first of a run is urgent."""
        if update.run not in self._outcomes:
            self._progress[update.run] = update

    def put_accepted(self, task: TaskExec) -> None:
        """Journal a run that is about to start, so that the next agent knows it."""
        self.journal.write(make_record(Events(tasks=(task,))))

    def put_log(self, run: str, text: str) -> None:
        """Queue a text for the task's log on the server."""
        entry = LogEntry(run=run, n=self._next(run), text=text)
        self.journal.write(make_record(describe_entry(entry)))
        self._append(entry)

    def put_listened(self, run: str, text: str) -> None:
        """Queue new output for the clients that listen to a run. Not journaled."""
        self._append(ListenedEntry(run=run, n=self._next(run), text=text))
        # Limited, so that an hour without a server costs no memory. The queue of all runs is long
        # then, so it is looked through only for a run that has too much.
        if self._listened.get(run, 0) <= MAX_LISTENED:
            return
        queued = [
            (q, len(q.entry.text))
            for q in self._queue
            if isinstance(q.entry, ListenedEntry) and q.entry.run == run
        ]
        for (oldest, length), (following, _) in pairwise(queued):
            if self._listened[run] <= MAX_LISTENED:
                break
            following.gap += oldest.gap + length
            following.cost += MAX_GAP_MARK
            self._queue.remove(oldest)
            self._count_listened(oldest, -1)

    def put_files(self, run: str, files: Iterable[TaskFile]) -> None:
        """Queue files for the task on the server."""
        for file in files:
            # Each file is an entry of its own, so that files can be split over several updates.
            entry = FilesEntry(run=run, n=self._next(run), files=(file,))
            self.journal.write(make_record(describe_entry(entry)))
            self._append(entry)

    def put_outcome(self, update: TaskUpdate, task: TaskExec | None) -> None:
        """Hold the terminal `update` until the server closes the run.

        `task` is None for a run that was stopped before its exec arrived.
        """
        self._progress.pop(update.run, None)
        # The run has cut the list already and reported it, but redaction can make names longer.
        named = fit_names(update.parsed_files, MAX_PARSED_FILES, json_size)
        if named != update.parsed_files:
            update = attrs.evolve(update, parsed_files=named)
        self.ended(update, task)
        position = self.journal.write(make_record(Update(seq=0, tasks=(update,))), sync=True)
        self._hold(_Outcome(update, task, position))

    def restore(self, held: PendingState) -> None:
        """Take over the entries and outcomes of an earlier agent's journal, in their order."""
        for entry in held.entries:
            self._numbers[entry.run] = entry.n
            if isinstance(entry, LogEntry) and not entry.text:
                continue  # `held` wrote it for its number alone.
            self._append(entry)
        for run in self._numbers:
            self._numbers[run] += RESTART_GAP
        for run, update in held.outcomes.items():
            self._hold(_Outcome(update, held.tasks.get(run)))

    def continue_numbering(self, run: str, number: int) -> None:
        """Give the next entries of `run` numbers greater than `number`.

        `number` is the time in milliseconds. The numbers that an earlier agent used are not stored,
        and no run can have had that many entries.
        """
        self._numbers[run] = max(self._numbers.get(run, 0), number)

    def held(self, running: Iterable[TaskExec]) -> PendingState:
        """Return the state for a compact journal, with the tasks that are `running`."""
        entries = [q.entry for _, queued in self._in_flight for q in queued]
        entries += [q.entry for q in self._queue]
        entries = [entry for entry in entries if not isinstance(entry, ListenedEntry)]
        # Acknowledged entries leave the journal, but their numbers must stay: if the next agent
        # counted from 1 again, the server would ignore its entries as repetitions. An empty log
        # entry keeps the number.
        last = {entry.run: entry.n for entry in entries}
        entries += [
            LogEntry(run=run, n=n, text="")
            for run, n in self._numbers.items()
            if last.get(run) != n
        ]
        tasks = [outcome.task for outcome in self._outcomes.values() if outcome.task is not None]
        return PendingState(
            tasks={task.run: task for task in (*tasks, *running)},
            outcomes={run: outcome.update for run, outcome in self._outcomes.items()},
            entries=entries,
        )

    def put_asked(self, answer: AskedOutput) -> None:
        """Queue the output of a run that the server asked for."""
        self._asked.append(answer)

    def put_resources(self, resources: HostResources) -> None:
        """Store the host's newest figures."""
        self._resources = resources

    def put_state(self, state: int) -> None:
        """Store the render's state bits, to be sent at once."""
        self._state = state

    # -- messages of the server -----------------------------------------------------------------

    def acked(self, seq: int) -> None:
        """Drop the entries of all updates up to `seq`, which the server has received."""
        while self._in_flight and self._in_flight[0][0] <= seq:
            self._in_flight.popleft()

    def closed(self, run: str) -> None:
        """Drop everything of a run that the server has closed. The run may be unknown."""
        ref = RunRef(run=run, job=0, block=0, task=0)  # The journal reads the run alone.
        self.journal.write(make_record(Events(closes=(ref,))))
        if (outcome := self._outcomes.pop(run, None)) is not None:
            self._outcomes_size -= outcome.cost
        self.delivered(run)
        self._progress.pop(run, None)
        self._known.discard(run)
        self._numbers.pop(run, None)
        self._listened.pop(run, None)
        if any(queued.entry.run == run for queued in self._queue):
            self._queue = deque(q for q in self._queue if q.entry.run != run)
        for _, entries in self._in_flight:
            entries[:] = [q for q in entries if q.entry.run != run]

    def lost(self) -> None:
        """Put unacknowledged entries back to the front of the queue, because the link is lost."""
        for _, entries in reversed(self._in_flight):
            self._queue.extendleft(reversed(entries))
            for queued in entries:
                self._count_listened(queued, 1)
        self._in_flight.clear()
        self._known.clear()
        self._asked.clear()  # A request for output ends with its session.
        for outcome in self._outcomes.values():
            outcome.sent = False

    # -- output ---------------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """How many updates were taken and not acknowledged."""
        return len(self._in_flight)

    def sizes(self) -> dict[str, int]:
        """Return how many outcomes, entries and unacknowledged updates it holds."""
        return {
            "outcomes": len(self._outcomes),
            "entries": len(self._queue) + sum(len(entries) for _, entries in self._in_flight),
            "updates": len(self._in_flight),
        }

    @property
    def outcomes_size(self) -> int:
        """Bytes of the outcomes that wait for their close."""
        return self._outcomes_size

    @property
    def holds(self) -> bool:
        """Whether an outcome waits for its close."""
        return bool(self._outcomes)

    def undelivered(self) -> tuple[TaskExec, ...]:
        """Return the tasks of runs that have ended and are not closed, for a register."""
        return tuple(o.task for o in self._outcomes.values() if o.task is not None)

    def has(self, run: str) -> bool:
        """Return whether the outcome of `run` is held."""
        return run in self._outcomes

    def task_of(self, run: str) -> TaskExec | None:
        """Return the task of a held outcome, None if there is none."""
        outcome = self._outcomes.get(run)
        return outcome.task if outcome is not None else None

    @property
    def urgent(self) -> bool:
        """Whether anything should not wait for the heartbeat."""
        return (
            bool(self._queue or self._asked)
            or self._state is not None
            or any(self._may_go(outcome) for outcome in self._outcomes.values())
            or any(run not in self._known for run in self._progress)
        )

    @property
    def has_pending(self) -> bool:
        """Whether anything is to be sent, urgent or not."""
        return bool(self._progress) or self._resources is not None or self.urgent

    def take(self, seq: int) -> Update | None:
        """Return the next update, None if there is nothing to send.

        Call it until it returns None: an update contains what fits, and at most one outcome with
        output.
        """
        room = _Room(self.limit)
        entries: list[_Queued] = []
        files = 0
        while self._queue and room.fits(self._queue[0].cost):
            queued = self._queue[0]
            if isinstance(queued.entry, FilesEntry):
                files += sum(map(_file_size, queued.entry.files))
                if files > MAX_UPDATE_FILES:
                    break
            room.take(queued.cost)
            self._count_listened(queued, -1)
            entries.append(self._queue.popleft())
        asked = []
        while self._asked and room.fits(size := json_size(self._asked[0].output)):
            room.take(size)
            asked.append(self._asked.popleft())
        updates = self._take_outcomes(room)
        for run, update in list(self._progress.items()):
            price = _small_cost(update)
            if not room.fits(price):
                break
            room.take(price)
            del self._progress[run]
            self._known.add(run)
            updates.append(update)
        resources, self._resources = self._resources, None
        state, self._state = self._state, None
        if not (entries or asked or updates or resources) and state is None:
            return None
        self._in_flight.append((seq, entries))
        taken = [_show(queued) for queued in entries]
        return Update(
            seq=seq,
            tasks=tuple(updates),
            outputs=tuple(asked),
            resources=resources,
            log=tuple(e for e in taken if isinstance(e, LogEntry)),
            listened=tuple(e for e in taken if isinstance(e, ListenedEntry)),
            files=tuple(e for e in taken if isinstance(e, FilesEntry)),
            state=state,
        )

    def make_heartbeat(self, seq: int) -> Update:
        """Return an empty update, which proves that this render is alive."""
        self._in_flight.append((seq, []))
        return Update(seq=seq)

    def _take_outcomes(self, room: _Room) -> list[TaskUpdate]:
        """Take unsent outcomes, at most one of them with output."""
        # Runs that still have queued entries are left out: nothing may follow an outcome.
        waiting = {queued.entry.run for queued in self._queue}
        taken: list[TaskUpdate] = []
        with_output = False
        for run, outcome in self._outcomes.items():
            if run in waiting or not self._may_go(outcome):
                continue
            update = outcome.update
            if (with_output and update.output) or not room.fits(outcome.cost):
                continue
            with_output = with_output or bool(update.output)
            room.take(outcome.cost)
            outcome.sent = True
            taken.append(update)
        return taken

    def _may_go(self, outcome: _Outcome) -> bool:
        # An outcome that is not durable yet must not be sent: after a power loss the server would
        # have closed a run that the next agent still counts as running.
        return not outcome.sent and outcome.position <= self.journal.durable

    # -- internals ------------------------------------------------------------------------------

    def _hold(self, outcome: _Outcome) -> None:
        if (older := self._outcomes.pop(outcome.update.run, None)) is not None:
            self._outcomes_size -= older.cost
        self._outcomes[outcome.update.run] = outcome
        self._outcomes_size += outcome.cost

    def _next(self, run: str) -> int:
        n = self._numbers[run] = self._numbers.get(run, 0) + 1
        return n

    def _append(self, entry: PendingOutcome) -> None:
        if isinstance(entry, FilesEntry):
            price = sum(_file_size(file) * 4 // 3 + MESSAGE_OVERHEAD for file in entry.files)
        else:
            price = json_size(entry.text)
        queued = _Queued(entry, price + 100)  # 100 bytes for run, number and braces.
        self._queue.append(queued)
        self._count_listened(queued, 1)

    def _count_listened(self, queued: _Queued, sign: int) -> None:
        """Count listened text that enters the queue, or with -1 leaves it."""
        if isinstance(entry := queued.entry, ListenedEntry):
            self._listened[entry.run] = self._listened.get(entry.run, 0) + sign * len(entry.text)


@attrs.define
class _Room:
    """The bytes left in an update. The first item always fits, or it would never be sent."""

    left: int
    used: bool = False

    def fits(self, price: int) -> bool:
        return price <= self.left or not self.used

    def take(self, price: int) -> None:
        self.left -= price
        self.used = True


def _show(queued: _Queued) -> PendingOutcome:
    """Return an entry as it is sent: listened text states what was dropped before it."""
    entry = queued.entry
    if not queued.gap or not isinstance(entry, ListenedEntry):
        return entry
    return attrs.evolve(entry, text=f"\n[{queued.gap} characters left out]\n{entry.text}")


def _file_size(file: TaskFile) -> int:
    """Return the bytes that a file has, at most."""
    return len(file.data) or MAX_FILE


def _small_cost(update: TaskUpdate) -> int:
    texts = (update.activity, update.report, update.resources, *update.parsed_files)
    return (
        MESSAGE_OVERHEAD
        + sum(map(json_size, texts))
        + sum(json_size(step.text) + 200 for step in update.why)
    )

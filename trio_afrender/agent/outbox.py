"""What the server still has to hear. Pure: no clock, no I/O; the session moves what it hands out.

Rules, all of them tested as properties:

- Progress conflates: of each run only the newest counts.
- Log lines, files and listened text do not. Each gets a number `n` within its run, so that the
  server applies it once, however often it is sent. They leave by `acked`.
- An outcome leaves by `closed` (or `forget`) alone. Nothing of its run is sent after it, and it
  is not sent before what its run said earlier.
- After a lost link all that was not acknowledged is sent again, in the old order.
- No update is larger than `limit` bytes, measured as the JSON that it becomes.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable

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

__all__ = ("Outbox",)

MAX_UPDATE = 7 * 1024 * 1024
"""Bytes of content in one update; the frame's limit is 8 MiB, the rest is for what is small."""
MAX_UPDATE_FILES = 3 * 1024 * 1024
MESSAGE_OVERHEAD = 4096
"""Bytes: the price of a message without its long texts, generously."""
MAX_PARSED_FILES = 256 * 1024
"""Bytes of an outcome's list of parsed files."""
MAX_LISTENED = 1024 * 1024
"""Characters of listened text kept for a run while the link is away; older text gives way."""

RESTART_GAP = 1_000_000
"""Added to a run's numbers when its agent was restarted: listened text, which is not journaled,
may have used the next ones already."""


def cost(text: str) -> int:
    """How many bytes `text` takes in a frame: escapes make up to twelve of one character."""
    return len(text) if text.isascii() and text.isprintable() else len(json.dumps(text))


@attrs.define(eq=False)
class _Outcome:
    update: TaskUpdate
    task: TaskExec | None
    position: int = 0
    """In the journal: it is sent when that is durable."""
    sent: bool = False


@attrs.define(eq=False)
class _Queued:
    entry: PendingOutcome
    cost: int


@attrs.define(eq=False)
class Outbox:
    """The agent's side of acknowledged delivery."""

    limit: int = MAX_UPDATE
    journal: Journal = attrs.field(factory=NoJournal)
    ended: Callable[[TaskUpdate, TaskExec | None], None] = lambda _update, _task: None
    """Told of each outcome as it is put in."""
    _progress: dict[str, TaskUpdate] = attrs.field(factory=dict)
    _known: set[str] = attrs.field(factory=set)
    """Runs whose start the server has been told in this session."""
    _queue: deque[_Queued] = attrs.field(factory=deque)
    _in_flight: deque[tuple[int, list[_Queued]]] = attrs.field(factory=deque)
    _outcomes: dict[str, _Outcome] = attrs.field(factory=dict)
    _asked: deque[AskedOutput] = attrs.field(factory=deque)
    _numbers: dict[str, int] = attrs.field(factory=dict)
    _resources: HostResources | None = None
    _state: int | None = None

    # -- what is put in -------------------------------------------------------------------------

    def put_progress(self, update: TaskUpdate) -> bool:
        """Note the newest progress; return whether it should go out at once (a start)."""
        if update.run in self._outcomes:
            return False
        self._progress[update.run] = update
        return update.run not in self._known

    def put_accepted(self, task: TaskExec) -> None:
        """Note a run that is about to start, so that an agent after us knows of it."""
        self.journal.write(make_record(Events(tasks=(task,))))

    def put_log(self, run: str, text: str) -> None:
        entry = LogEntry(run=run, n=self._next(run), text=text)
        self.journal.write(make_record(describe_entry(entry)))
        self._append(entry, cost(text))

    def put_listened(self, run: str, text: str) -> None:
        self._append(ListenedEntry(run=run, n=self._next(run), text=text), cost(text))
        self._trim_listened(run)

    def put_files(self, run: str, files: Iterable[TaskFile]) -> None:
        for file in files:
            # One entry a file: a split over updates then needs no thought.
            entry = FilesEntry(run=run, n=self._next(run), files=(file,))
            self.journal.write(make_record(describe_entry(entry)))
            self._append(entry, len(file.data) * 4 // 3 + MESSAGE_OVERHEAD)

    def put_outcome(self, update: TaskUpdate, task: TaskExec | None) -> None:
        """Hold the terminal `update` until the server closes the run; `task` None: never had it.

        Of very many parsed files those that fit are told: an outcome too large for a frame would
        be sent again for ever.
        """
        self._progress.pop(update.run, None)
        update = _trim(update)
        self.ended(update, task)
        position = self.journal.write(make_record(Update(seq=0, tasks=(update,))), sync=True)
        self._outcomes[update.run] = _Outcome(update, task, position)

    def restore(self, held: PendingState) -> None:
        """Take over what an earlier agent's journal holds: entries and outcomes, in their order."""
        for entry in held.entries:
            self._numbers[entry.run] = entry.n
            if isinstance(entry, LogEntry) and not entry.text:
                continue  # it only keeps the number
            size = len(entry.text) if isinstance(entry, LogEntry) else 0
            files = entry.files if isinstance(entry, FilesEntry) else ()
            self._append(
                entry, size * 2 + sum(len(f.data) * 4 // 3 + MESSAGE_OVERHEAD for f in files)
            )
        for run in self._numbers:
            self._numbers[run] += RESTART_GAP
        for run, update in held.outcomes.items():
            self._outcomes[run] = _Outcome(update, held.tasks.get(run))

    def continue_numbering(self, run: str, number: int) -> None:
        """Number what `run` says from here on by more than `number`.

        The numbers that it had are not kept, so this is the time in milliseconds: ahead of any
        count that a run can have got to by then.
        """
        self._numbers[run] = max(self._numbers.get(run, 0), number)

    def held(self, running: Iterable[TaskExec]) -> PendingState:
        """What a compact journal has to say, beside the runs that are `running`."""
        entries = [q.entry for _, queued in self._in_flight for q in queued]
        entries += [q.entry for q in self._queue]
        entries = [entry for entry in entries if not isinstance(entry, ListenedEntry)]
        # What the server has heard leaves the journal, its numbers must not: an agent after us that
        # counted from 1 again would be taken for an echo. So a word that says nothing keeps them.
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
        self._asked.append(answer)

    def put_resources(self, resources: HostResources) -> None:
        self._resources = resources

    def put_state(self, state: int) -> None:
        self._state = state

    # -- what the server said -------------------------------------------------------------------

    def acked(self, seq: int) -> None:
        """The server has everything up to update `seq`."""
        while self._in_flight and self._in_flight[0][0] <= seq:
            self._in_flight.popleft()

    def closed(self, run: str) -> None:
        """The server closed the run: nothing of it is needed any more. Unknown runs are fine."""
        ref = RunRef(run=run, job=0, block=0, task=0)  # only the run counts
        self.journal.write(make_record(Events(closes=(ref,))))
        self._outcomes.pop(run, None)
        self._progress.pop(run, None)
        self._known.discard(run)
        self._numbers.pop(run, None)
        if any(queued.entry.run == run for queued in self._queue):
            self._queue = deque(q for q in self._queue if q.entry.run != run)
        for _, entries in self._in_flight:
            entries[:] = [q for q in entries if q.entry.run != run]

    def lost(self) -> None:
        """The link is gone: what was not acknowledged goes back to the front, in its order."""
        for _, entries in reversed(self._in_flight):
            self._queue.extendleft(reversed(entries))
        self._in_flight.clear()
        self._known.clear()
        self._asked.clear()  # whoever asked has to ask the new session
        for outcome in self._outcomes.values():
            outcome.sent = False

    # -- what goes out --------------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """Updates that were taken and not acknowledged."""
        return len(self._in_flight)

    @property
    def holds(self) -> bool:
        """Whether an outcome waits for its close."""
        return bool(self._outcomes)

    def undelivered(self) -> tuple[TaskExec, ...]:
        """Runs that are over and not closed, for a register."""
        return tuple(o.task for o in self._outcomes.values() if o.task is not None)

    def has(self, run: str) -> bool:
        """Whether the outcome of `run` is held."""
        return run in self._outcomes

    def task_of(self, run: str) -> TaskExec | None:
        """The exec of a held outcome, None if there is none."""
        outcome = self._outcomes.get(run)
        return outcome.task if outcome is not None else None

    @property
    def urgent(self) -> bool:
        """Whether there is something that should not wait for the heartbeat."""
        return (
            bool(self._queue or self._asked)
            or self._state is not None
            or any(self._may_go(outcome) for outcome in self._outcomes.values())
            or any(run not in self._known for run in self._progress)
        )

    @property
    def has_pending(self) -> bool:
        """Whether there is anything to say at all, urgent or not."""
        return bool(self._progress) or self._resources is not None or self.urgent

    def take(self, seq: int) -> Update | None:
        """Hand out the next update, None when there is nothing to say.

        Call again until None: one update holds what fits, and one outcome's output at most.
        """
        room = _Room(self.limit)
        entries = self._take_entries(room)
        asked = self._take_asked(room)
        updates = self._take_outcomes(room) + self._take_progress(room)
        resources, self._resources = self._resources, None
        state, self._state = self._state, None
        if not (entries or asked or updates or resources) and state is None:
            return None
        self._in_flight.append((seq, entries))
        taken = [queued.entry for queued in entries]
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
        """An update that says nothing but that we live."""
        self._in_flight.append((seq, []))
        return Update(seq=seq)

    def _take_entries(self, room: _Room) -> list[_Queued]:
        taken: list[_Queued] = []
        files = 0
        while self._queue and room.fits(self._queue[0].cost):
            queued = self._queue[0]
            if isinstance(queued.entry, FilesEntry):
                files += len(queued.entry.files[0].data)
                if files > MAX_UPDATE_FILES:
                    break
            room.take(queued.cost)
            taken.append(self._queue.popleft())
        return taken

    def _take_asked(self, room: _Room) -> list[AskedOutput]:
        taken = []
        while self._asked and room.fits(cost(self._asked[0].output)):
            room.take(cost(self._asked[0].output))
            taken.append(self._asked.popleft())
        return taken

    def _take_outcomes(self, room: _Room) -> list[TaskUpdate]:
        """Unsent outcomes whose runs have nothing queued before them; one long output at most."""
        waiting = {queued.entry.run for queued in self._queue}
        taken: list[TaskUpdate] = []
        with_output = False
        for run, outcome in self._outcomes.items():
            if run in waiting or not self._may_go(outcome):
                continue
            update = outcome.update
            price = cost(update.output) + _small_cost(update)
            if (with_output and update.output) or not room.fits(price):
                continue
            with_output = with_output or bool(update.output)
            room.take(price)
            outcome.sent = True
            taken.append(update)
        return taken

    def _take_progress(self, room: _Room) -> list[TaskUpdate]:
        taken: list[TaskUpdate] = []
        for run, update in list(self._progress.items()):
            price = _small_cost(update)
            if not room.fits(price):
                break
            room.take(price)
            del self._progress[run]
            self._known.add(run)
            taken.append(update)
        return taken

    def _may_go(self, outcome: _Outcome) -> bool:
        return not outcome.sent and outcome.position <= self.journal.durable

    # -- inside ---------------------------------------------------------------------------------

    def _next(self, run: str) -> int:
        n = self._numbers[run] = self._numbers.get(run, 0) + 1
        return n

    def _append(self, entry: PendingOutcome, price: int) -> None:
        self._queue.append(_Queued(entry, price + 100))

    def _trim_listened(self, run: str) -> None:
        """Let old listened text give way, so that an hour without a server costs no memory."""
        mine = [q for q in self._queue if isinstance(q.entry, ListenedEntry) and q.entry.run == run]
        surplus = sum(len(_text(q.entry)) for q in mine) - MAX_LISTENED
        for queued in mine:
            if surplus <= 0:
                break
            surplus -= len(_text(queued.entry))
            self._queue.remove(queued)


@attrs.define
class _Room:
    """Bytes left in an update. Something always fits into an empty one, whatever its size."""

    left: int
    used: bool = False

    def fits(self, price: int) -> bool:
        return price <= self.left or not self.used

    def take(self, price: int) -> None:
        self.left -= price
        self.used = True


def _small_cost(update: TaskUpdate) -> int:
    texts = (update.activity, update.report, update.resources, *update.parsed_files)
    return (
        MESSAGE_OVERHEAD + sum(map(cost, texts)) + sum(cost(step.text) + 200 for step in update.why)
    )


def _trim(update: TaskUpdate) -> TaskUpdate:
    room = MAX_PARSED_FILES
    for index, name in enumerate(update.parsed_files):
        room -= cost(name) + 4
        if room < 0:
            return attrs.evolve(update, parsed_files=update.parsed_files[:index])
    return update


def _text(entry: PendingOutcome) -> str:
    return entry.text if isinstance(entry, ListenedEntry) else ""

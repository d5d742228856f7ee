"""The journal's format: after a cut or a corrupt byte, the messages that are read are valid."""

from __future__ import annotations

import attrs
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trio_afrender.agent.journal_format import (
    MAGIC,
    Message,
    PendingState,
    make_record,
    read_records,
    replay,
)
from trio_afrender.agent.outbox import Outbox
from trio_afrender.protocol.messages import (
    Events,
    FilesEntry,
    LogEntry,
    Reason,
    RunRef,
    TaskExec,
    TaskFile,
    TaskStatus,
    TaskUpdate,
    Update,
)


def accept(run: str) -> Events:
    return Events(tasks=(TaskExec(run=run, job=1, block=0, task=2, environment={"A": "b\udcff"}),))


def end(run: str, output: str = "done\n") -> Update:
    why = (Reason(time=1.5, event="exit", text="the end", pids=(4, 5)),)
    return Update(
        seq=0,
        tasks=(
            TaskUpdate(
                run=run,
                job=1,
                block=0,
                task=2,
                status=TaskStatus.FinishedSuccess,
                output=output,
                exit_code=0,
                why=why,
            ),
        ),
    )


def log(run: str, n: int) -> Update:
    return Update(seq=0, log=(LogEntry(run=run, n=n, text=f"line {n}\n"),))


def file(run: str, n: int) -> Update:
    files = (TaskFile(name="a.jpg", data=bytes(range(256))),)
    return Update(seq=0, files=(FilesEntry(run=run, n=n, files=files),))


def close(run: str) -> Events:
    return Events(closes=(RunRef(run=run, job=0, block=0, task=0),))


TRANSCRIPT: tuple[Message, ...] = (
    accept("a"), accept("b"), log("a", 1), file("a", 2), end("a"), log("b", 1), close("a"),
    accept("c"), end("b", "torn \udcfe\n"),
)  # fmt: skip


def write(messages: tuple[Message, ...]) -> bytes:
    return MAGIC + b"".join(map(make_record, messages))


def test_written_messages_are_read_back() -> None:
    data = write(TRANSCRIPT)
    assert read_records(data) == TRANSCRIPT


def test_the_state_at_the_end_of_a_transcript() -> None:
    state = replay(TRANSCRIPT)
    assert set(state.tasks) == {"b", "c"}
    assert set(state.outcomes) == {"b"}
    assert [entry.run for entry in state.entries] == ["b"]
    assert [task.run for task in state.unfinished] == ["c"]


def test_a_journal_cut_at_any_byte_is_read_up_to_the_cut() -> None:
    data = write(TRANSCRIPT)
    ends = [len(write(TRANSCRIPT[:count])) for count in range(1, len(TRANSCRIPT) + 1)]
    for length in range(len(data)):
        whole = sum(end <= length for end in ends)
        assert read_records(data[:length]) == TRANSCRIPT[:whole]
        if length >= len(MAGIC):
            appended = data[: ends[whole - 1] if whole else len(MAGIC)] + make_record(log("z", 9))
            assert read_records(appended) == (*TRANSCRIPT[:whole], log("z", 9))


def test_reading_ends_at_a_corrupt_byte() -> None:
    data = write(TRANSCRIPT)
    for index in range(len(MAGIC), len(data)):
        messages = read_records(data[:index] + bytes([data[index] ^ 0x41]) + data[index + 1 :])
        assert messages == TRANSCRIPT[: len(messages)]
        assert len(messages) < len(TRANSCRIPT)


@given(st.binary(max_size=300))
def test_any_bytes_can_be_read(data: bytes) -> None:
    assert isinstance(replay(read_records(MAGIC + data)), PendingState)


def test_a_compact_journal_has_the_same_state() -> None:
    state = replay(TRANSCRIPT)
    compact = MAGIC + b"".join(state.records())
    assert len(compact) < len(write(TRANSCRIPT))
    assert replay(read_records(compact)) == state


@attrs.define
class MemoryJournal:
    """A journal in memory. The test decides which part of it is durable."""

    data: bytearray = attrs.field(factory=lambda: bytearray(MAGIC))
    durable: int = 0
    written: int = 0
    synced: int = 0

    def write(self, record: bytes, *, sync: bool = False) -> int:
        self.data += record
        self.synced += sync
        self.written += len(record)
        return self.written


def test_an_outcome_waits_until_it_is_durable() -> None:
    journal = MemoryJournal()
    outbox = Outbox(journal=journal)
    update = end("a").tasks[0]
    outbox.put_log("a", "first\n")
    assert journal.synced == 0, "only an outcome waits for the disk"
    assert outbox.take(1) is not None
    outbox.put_outcome(update, None)
    assert journal.synced == 1
    assert (outbox.urgent, outbox.take(2)) == (False, None), "not yet durable"
    journal.durable = journal.written
    assert outbox.urgent
    taken = outbox.take(2)
    assert taken is not None
    assert taken.tasks == (update,)


RUNS = st.sampled_from(["a", "b", "c"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("accept"), RUNS),
        st.tuples(st.just("log"), RUNS),
        st.tuples(st.just("files"), RUNS),
        st.tuples(st.just("end"), RUNS),
        st.tuples(st.sampled_from(["send", "lost", "crash", "compact"]), st.just("")),
        st.tuples(st.just("close"), RUNS),
    ),
    max_size=40,
)


@attrs.define
class DeliveryModel:
    """An outbox with its journal, and a server that applies each (run, n) once."""

    journal: MemoryJournal = attrs.field(factory=MemoryJournal)
    outbox: Outbox = attrs.field(init=False)
    sent: dict[str, list[str]] = attrs.field(factory=dict)
    """The texts that each run has put into the outbox."""
    received: dict[str, list[str]] = attrs.field(factory=dict)
    """The texts that the server has applied."""
    applied: set[tuple[str, int]] = attrs.field(factory=set)
    accepted: set[str] = attrs.field(factory=set)
    ended: set[str] = attrs.field(factory=set)
    delivered: set[str] = attrs.field(factory=set)
    """Runs whose outcome the server has received."""
    seq: int = 0

    def __attrs_post_init__(self) -> None:
        self.outbox = Outbox(journal=self.journal)

    def send(self, *, ack: bool) -> None:
        """Send everything to the server."""
        self.journal.durable = self.journal.written
        while (update := self.outbox.take(self.seq + 1)) is not None:
            self.seq += 1
            self.delivered.update(task.run for task in update.tasks)
            entries: list[LogEntry | FilesEntry] = [*update.log, *update.files]
            for entry in sorted(entries, key=lambda each: each.n):
                if (entry.run, entry.n) not in self.applied:
                    self.applied.add((entry.run, entry.n))
                    text = entry.text if isinstance(entry, LogEntry) else entry.files[0].name
                    self.received.setdefault(entry.run, []).append(text)
            if ack:
                self.outbox.acked(self.seq)

    def lose_link(self) -> None:
        """Send everything and lose the acknowledgements."""
        self.send(ack=False)
        self.outbox.lost()
        self.seq = 0

    def crash(self) -> None:
        """Restart the agent with the journal."""
        messages = read_records(bytes(self.journal.data))
        assert self.journal.data == write(messages)
        self.outbox, self.seq = Outbox(journal=self.journal), 0
        self.outbox.restore(replay(messages))

    def compact(self) -> None:
        running = [accept(run).tasks[0] for run in self.accepted - self.ended]
        self.journal.data[:] = MAGIC + b"".join(self.outbox.held(running).records())

    def accept(self, run: str) -> None:
        if run not in self.accepted:
            self.accepted.add(run)
            self.outbox.put_accepted(accept(run).tasks[0])

    def put(self, kind: str, run: str, text: str) -> None:
        """Put a log line or a file of a run that has not ended."""
        if run not in self.accepted or run in self.ended:
            return
        self.sent.setdefault(run, []).append(text)
        if kind == "log":
            self.outbox.put_log(run, text)
        else:
            self.outbox.put_files(run, (TaskFile(name=text, data=b"x"),))

    def end(self, run: str) -> None:
        if run in self.accepted and run not in self.ended:
            self.ended.add(run)
            self.outbox.put_outcome(end(run).tasks[0], accept(run).tasks[0])

    def close(self, run: str) -> None:
        """Have the server close a run that has ended; compare its texts."""
        if run not in self.ended:
            return
        self.send(ack=True)
        self.outbox.closed(run)
        for runs in (self.ended, self.accepted, self.delivered):
            runs.discard(run)
        assert self.received.pop(run, []) == self.sent.pop(run, [])
        self.applied -= {key for key in self.applied if key[0] == run}


@settings(max_examples=300)
@given(STEPS)
@example([("accept", "a"), ("log", "a"), ("crash", ""), ("compact", ""), ("crash", "")])
@example(
    [("accept", "a"), ("log", "a"), ("send", ""), ("compact", ""), ("crash", ""), ("log", "a")]
)
def test_the_server_receives_everything_once_and_in_order_despite_crashes(
    steps: list[tuple[str, str]],
) -> None:
    model = DeliveryModel()
    for count, (step, run) in enumerate(steps):
        match step:
            case "crash":
                model.crash()
            case "compact":
                model.compact()
            case "lost":
                model.lose_link()
            case "send":
                model.send(ack=True)
            case "close":
                model.close(run)
            case "accept":
                model.accept(run)
            case "end":
                model.end(run)
            case kind:
                model.put(kind, run, f"{kind} {count}")
    model.send(ack=True)
    assert {run: texts for run, texts in model.received.items() if texts} == model.sent
    assert {run for run in model.ended if not model.outbox.has(run)} == set()
    assert model.ended <= model.delivered

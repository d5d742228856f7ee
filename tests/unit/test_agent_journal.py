"""The journal's format: whatever is cut off or rots, what is read is true."""

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


TALE: tuple[Message, ...] = (
    accept("a"), accept("b"), log("a", 1), file("a", 2), end("a"), log("b", 1), close("a"),
    accept("c"), end("b", "torn \udcfe\n"),
)  # fmt: skip


def write(messages: tuple[Message, ...]) -> bytes:
    return MAGIC + b"".join(map(make_record, messages))


def test_what_is_written_is_read() -> None:
    data = write(TALE)
    assert read_records(data) == (TALE, len(data))


def test_what_holds_at_the_end() -> None:
    held = replay(TALE)
    assert set(held.tasks) == {"b", "c"}
    assert set(held.outcomes) == {"b"}
    assert [entry.run for entry in held.entries] == ["b"]
    assert [task.run for task in held.unfinished] == ["c"]


def test_cut_at_every_byte_the_rest_is_a_beginning() -> None:
    data = write(TALE)
    for length in range(len(data)):
        messages, good = read_records(data[:length])
        assert messages == TALE[: len(messages)]
        assert good <= max(length, len(MAGIC))
        again, _ = read_records(data[:good] + make_record(log("z", 9)), min(good, len(MAGIC)))
        if good >= len(MAGIC):
            assert again == (*messages, log("z", 9)), "writing goes on behind what is whole"


def test_a_rotten_byte_ends_what_is_read() -> None:
    data = write(TALE)
    for place in range(len(MAGIC), len(data)):
        messages, _ = read_records(data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :])
        assert messages == TALE[: len(messages)]
        assert len(messages) < len(TALE)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_harm(data: bytes) -> None:
    messages, good = read_records(MAGIC + data)
    assert good <= len(MAGIC) + len(data)
    assert isinstance(replay(messages), PendingState)


def test_compact_says_the_same() -> None:
    held = replay(TALE)
    compact = MAGIC + b"".join(held.records())
    assert len(compact) < len(write(TALE))
    assert replay(read_records(compact)[0]) == held


@attrs.define
class Memory:
    """A journal of which a part may not be durable yet."""

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
    journal = Memory()
    outbox = Outbox(journal=journal)
    update = end("a").tasks[0]
    outbox.put_log("a", "first\n")
    assert journal.synced == 0, "only what ends a run is worth a wait for the disk"
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


@settings(max_examples=300)
@given(STEPS)
@example([("accept", "a"), ("log", "a"), ("crash", ""), ("compact", ""), ("crash", "")])
@example(
    [("accept", "a"), ("log", "a"), ("send", ""), ("compact", ""), ("crash", ""), ("log", "a")]
)
def test_through_any_crashes_the_server_hears_all_of_it_in_order(
    steps: list[tuple[str, str]],
) -> None:
    """A model: what each run said, against what a server that applies (run, n) once has heard."""
    journal = Memory()
    outbox = Outbox(journal=journal)
    said: dict[str, list[str]] = {}
    heard: dict[str, list[str]] = {}
    seen: set[tuple[str, int]] = set()
    ended: set[str] = set()
    accepted: set[str] = set()
    delivered: set[str] = set()
    seq = 0

    def send(*, ack: bool) -> None:
        nonlocal seq
        journal.durable = journal.written
        while (update := outbox.take(seq + 1)) is not None:
            seq += 1
            delivered.update(task.run for task in update.tasks)
            entries: list[LogEntry | FilesEntry] = [*update.log, *update.files]
            for entry in sorted(entries, key=lambda each: each.n):
                if (entry.run, entry.n) not in seen:
                    seen.add((entry.run, entry.n))
                    text = entry.text if isinstance(entry, LogEntry) else entry.files[0].name
                    heard.setdefault(entry.run, []).append(text)
            if ack:
                outbox.acked(seq)

    for count, (step, run) in enumerate(steps):
        if step == "crash":
            messages, good = read_records(bytes(journal.data))
            assert good == len(journal.data)
            outbox, seq = Outbox(journal=journal), 0
            outbox.restore(replay(messages))
        elif step == "compact":
            running = [accept(each).tasks[0] for each in accepted - ended]
            journal.data[:] = MAGIC + b"".join(outbox.held(running).records())
        elif step == "lost":
            send(ack=False)
            outbox.lost()
            seq = 0
        elif step == "send":
            send(ack=True)
        elif step == "close":
            if run in ended:
                send(ack=True)
                outbox.closed(run)
                ended.discard(run)
                accepted.discard(run)
                delivered.discard(run)
                assert heard.pop(run, []) == said.pop(run, [])
                seen -= {key for key in seen if key[0] == run}
        elif step == "accept":
            if run not in accepted:
                accepted.add(run)
                outbox.put_accepted(accept(run).tasks[0])
        elif run in accepted and run not in ended:
            if step == "end":
                ended.add(run)
                outbox.put_outcome(end(run).tasks[0], accept(run).tasks[0])
            else:
                text = f"{step} {count}"
                said.setdefault(run, []).append(text)
                if step == "log":
                    outbox.put_log(run, text)
                else:
                    outbox.put_files(run, (TaskFile(name=text, data=b"x"),))
    send(ack=True)
    assert {run: texts for run, texts in heard.items() if texts} == said
    assert {run for run in ended if not outbox.has(run)} == set()
    assert ended <= delivered

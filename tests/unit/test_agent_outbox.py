"""Delivery: rules over an outbox and a model of a server whose link may be lost at any moment."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trio_afrender.agent.journal_format import PendingState
from trio_afrender.agent.outbox import Outbox
from trio_afrender.protocol.json_codec import MAX_FRAME, encode
from trio_afrender.protocol.messages import (
    AskedOutput,
    FilesEntry,
    ListenedEntry,
    LogEntry,
    Reason,
    TaskExec,
    TaskFile,
    TaskStatus,
    TaskUpdate,
    Update,
)


def make_task(run: str) -> TaskExec:
    return TaskExec(run=run, job=2, block=0, task=int(run[1:]))


def make_update(run: str, status: TaskStatus, *, percent: int = 0, output: str = "") -> TaskUpdate:
    return TaskUpdate(
        run=run, job=2, block=0, task=int(run[1:]), status=status, percent=percent, output=output
    )


def take_all(outbox: Outbox, seq: int = 1) -> list[Update]:
    taken = []
    while (update := outbox.take(seq)) is not None:
        taken.append(update)
        seq += 1
    return taken


def test_progress_is_conflated_and_a_start_is_urgent() -> None:
    outbox = Outbox()
    outbox.put_progress(make_update("r1", TaskStatus.Percent))
    assert outbox.urgent
    outbox.put_progress(make_update("r1", TaskStatus.Percent, percent=10))
    assert outbox.urgent
    (update,) = take_all(outbox)
    assert [t.percent for t in update.tasks] == [10]
    outbox.put_progress(make_update("r1", TaskStatus.Percent, percent=20))
    assert not outbox.urgent


def test_an_outcome_stays_until_closed_and_is_sent_again_after_a_loss() -> None:
    outbox = Outbox()
    outbox.put_outcome(make_update("r1", TaskStatus.FinishedSuccess), make_task("r1"))
    (first,) = take_all(outbox)
    outbox.acked(1)
    assert outbox.holds
    assert take_all(outbox, 2) == []
    outbox.lost()
    assert outbox.undelivered() == (make_task("r1"),)
    (again,) = take_all(outbox)
    assert again.tasks == first.tasks
    outbox.closed("r1")
    assert outbox.undelivered() == ()
    assert take_all(outbox, 2) == []


def test_unacknowledged_entries_are_sent_again_in_order() -> None:
    outbox = Outbox()
    for text in ("a", "b", "c"):
        outbox.put_log("r1", text)
        take_all(outbox, {"a": 1, "b": 2, "c": 3}[text])
    outbox.acked(1)
    outbox.put_log("r1", "d")
    outbox.lost()
    (update,) = take_all(outbox)
    assert [(e.n, e.text) for e in update.log] == [(2, "b"), (3, "c"), (4, "d")]


def test_an_update_has_one_long_output_and_no_outcome_before_its_log() -> None:
    outbox = Outbox(limit=300_000)
    for run in ("r1", "r2"):
        outbox.put_log(run, "x" * 200_000)
        outbox.put_outcome(
            make_update(run, TaskStatus.FinishedSuccess, output="y" * 90_000), make_task(run)
        )
    updates = take_all(outbox)
    assert all(sum(bool(t.output) for t in u.tasks) <= 1 for u in updates)
    order = [run for u in updates for run in (*(e.run for e in u.log), *(t.run for t in u.tasks))]
    for run in ("r1", "r2"):
        assert order.count(run) == 2


def test_control_characters_count_with_their_escapes() -> None:
    outbox = Outbox(limit=1_000_000)
    outbox.put_log("r1", "\x01" * 150_000)  # 900 kB of JSON
    outbox.put_log("r1", "\x01" * 150_000)
    assert [len(u.log) for u in take_all(outbox)] == [1, 1]


def test_files_are_split_over_updates() -> None:
    outbox = Outbox()
    files = [TaskFile(name=f"{i}.jpg", data=b"x" * 90_000) for i in range(50)]
    outbox.put_files("r1", files)
    updates = take_all(outbox)
    assert [f.name for u in updates for e in u.files for f in e.files] == [f.name for f in files]
    assert all(
        sum(len(f.data) for e in u.files for f in e.files) <= 3 * 1024 * 1024 for u in updates
    )


def test_listened_text_is_limited_while_the_link_is_down() -> None:
    outbox = Outbox()
    for i in range(100):
        outbox.put_listened("r1", f"{i:03}" + "x" * 50_000)
    taken = take_all(outbox)
    outbox.lost()
    assert [u.listened for u in take_all(outbox)] == [u.listened for u in taken]
    texts = [e.text for u in taken for e in u.listened]
    assert sum(map(len, texts)) <= 1024 * 1024 + 50_003
    assert texts[-1].startswith("099")
    left_out = (100 - len(texts)) * 50_003
    assert texts[0].startswith(f"\n[{left_out} characters left out]\n")
    assert not any("left out" in text for text in texts[1:])


class WatchedQueue(deque[Any]):
    """Counts how often it is looked through."""

    looks = 0

    def __iter__(self) -> Iterator[Any]:
        self.looks += 1
        return super().__iter__()


def test_the_queue_is_looked_through_only_for_too_much_listened_text() -> None:
    """An hour without a server fills it with a piece a second of each run that is listened to."""
    outbox = Outbox()
    queue = outbox._queue = WatchedQueue()
    for i in range(100):
        outbox.put_listened(f"r{i % 10}", "x" * 100)
    assert queue.looks == 0
    take_all(outbox)
    outbox.lost()
    outbox.closed("r1")
    queue = outbox._queue = WatchedQueue(outbox._queue)
    half = "y" * (512 * 1024)
    for run in ("r1", "r2"):
        outbox.put_listened(run, half)
        outbox.put_listened(run, half)
    assert queue.looks == 1, "r1 is a new run, r2 has text from before the loss"
    sent = [entry for update in take_all(outbox) for entry in update.listened]
    assert [len(entry.text) for entry in sent if entry.run == "r1"] == [len(half)] * 2
    assert next(entry.text for entry in sent if entry.run == "r2").startswith("\n[")


def test_asked_output_is_sent_once_and_ends_with_its_session() -> None:
    outbox = Outbox()
    answer = AskedOutput(run="r1", job=2, block=0, task=1, output="text")
    outbox.put_asked(answer)
    (update,) = take_all(outbox)
    assert update.outputs == (answer,)
    outbox.put_asked(answer)
    outbox.lost()
    assert take_all(outbox) == []


def test_progress_after_the_outcome_is_dropped() -> None:
    outbox = Outbox()
    outbox.put_outcome(make_update("r1", TaskStatus.FinishedError), make_task("r1"))
    outbox.put_progress(make_update("r1", TaskStatus.Percent, percent=3))
    (update,) = take_all(outbox)
    assert [t.status for t in update.tasks] == [TaskStatus.FinishedError]


def test_the_largest_outcome_fits_into_a_frame() -> None:
    outbox = Outbox()
    worst = "\x01"
    update = attrs.evolve(
        make_update("r1", TaskStatus.FinishedError, output=worst * 1024 * 1024),
        parsed_files=tuple(f"/shots/{i:06}/{worst * 100}" for i in range(20_000)),
        activity=worst * 1000,
        report=worst * 10_000,
        resources=worst * 10_000,
        why=tuple(Reason(time=1.0, event="more", text=worst * 1000) for _ in range(101)),
    )
    outbox.put_outcome(update, make_task("r1"))
    (sent,) = take_all(outbox)
    assert len(encode(sent)) <= MAX_FRAME
    assert 100 < len(sent.tasks[0].parsed_files) < 20_000


class Delivery(RuleBasedStateMachine):
    """After any order of events the server has each entry once, in order, before the outcome."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox(limit=20_000)
        self.seq = 0
        self.wire: list[Update] = []
        self.sent: dict[str, list[str]] = {}
        self.ended: dict[str, TaskUpdate] = {}
        self.received: dict[str, list[str]] = {}
        self.highest: dict[str, int] = {}
        self.closed: set[str] = set()
        self.dropped: set[str] = set()
        """Runs that the server has withdrawn."""
        self.acked = 0

    runs = st.sampled_from(["r1", "r2", "r3"])

    @rule(run=runs, size=st.integers(1, 9_000))
    def log(self, run: str, size: int) -> None:
        if run not in self.ended:
            text = f"{len(self.sent.get(run, []))}:" + "x" * size
            self.sent.setdefault(run, []).append(text)
            self.outbox.put_log(run, text)

    @rule(run=runs, count=st.integers(1, 3), size=st.integers(1, 9_000))
    def files(self, run: str, count: int, size: int) -> None:
        if run not in self.ended:
            names = [f"{len(self.sent.get(run, [])) + i}.jpg" for i in range(count)]
            self.sent.setdefault(run, []).extend(names)
            self.outbox.put_files(run, [TaskFile(name=name, data=b"x" * size) for name in names])

    @rule(run=runs, size=st.integers(1, 9_000))
    def listened(self, run: str, size: int) -> None:
        if run not in self.ended:
            text = f"{len(self.sent.get(run, []))} listened:" + "x" * size
            self.sent.setdefault(run, []).append(text)
            self.outbox.put_listened(run, text)

    @rule(run=runs)
    def asked(self, run: str) -> None:
        self.outbox.put_asked(AskedOutput(run=run, job=2, block=0, task=1, output="so far"))

    @rule(state=st.integers(0, 7))
    def state(self, state: int) -> None:
        self.outbox.put_state(state)

    @rule()
    def heartbeat(self) -> None:
        if not self.outbox.urgent:
            self.seq += 1
            self.wire.append(self.outbox.make_heartbeat(self.seq))

    @rule(run=runs, percent=st.integers(0, 100))
    def progress(self, run: str, percent: int) -> None:
        if run not in self.closed:
            self.outbox.put_progress(make_update(run, TaskStatus.Percent, percent=percent))

    @rule(run=runs, size=st.integers(0, 15_000))
    def end(self, run: str, size: int) -> None:
        if run not in self.ended:
            self.ended[run] = make_update(run, TaskStatus.FinishedSuccess, output="o" * size)
            self.outbox.put_outcome(self.ended[run], make_task(run))

    @rule()
    def send(self) -> None:
        if (update := self.outbox.take(self.seq + 1)) is not None:
            self.seq += 1
            assert update.seq == self.seq
            self.wire.append(update)

    @precondition(lambda self: self.wire)
    @rule(ack=st.booleans())
    def receive(self, *, ack: bool) -> None:
        update = self.wire.pop(0)
        self.serve(update, close=ack)
        if ack:
            self.outbox.acked(update.seq)
            self.acked = update.seq

    @rule(back=st.integers(0, 5))
    def repeat_an_ack(self, back: int) -> None:
        """Repeat an acknowledgement of this session."""
        self.outbox.acked(max(0, self.acked - back))

    @rule(run=runs)
    def withdraw_run(self, run: str) -> None:
        """Withdraw a run, as the answer to a register does."""
        if run in self.ended:
            self.closed.add(run)
            self.outbox.closed(run)
            self.dropped.add(run)

    def serve(self, update: Update, *, close: bool) -> None:
        entries: list[LogEntry | FilesEntry | ListenedEntry] = [
            *update.log,
            *update.files,
            *update.listened,
        ]
        for entry in sorted(entries, key=lambda each: each.n):
            if entry.run not in self.dropped and entry.n > self.highest.get(entry.run, 0):
                assert entry.n == self.highest.get(entry.run, 0) + 1, "an entry was lost"
                self.highest[entry.run] = entry.n
                self.received.setdefault(entry.run, []).extend(_texts(entry))
        for task in update.tasks:
            if task.status.terminal:
                if task.run in self.dropped:
                    continue
                assert self.received.get(task.run, []) == self.sent.get(task.run, [])
                if close:
                    self.closed.add(task.run)
                    self.outbox.closed(task.run)

    @rule()
    def cut(self) -> None:
        self.wire.clear()
        self.seq = self.acked = 0
        self.outbox.lost()

    @invariant()
    def outcomes_are_held_until_closed(self) -> None:
        for run in self.ended:
            assert self.outbox.has(run) == (run not in self.closed)

    def teardown(self) -> None:
        self.cut()
        for _ in range(1000):
            if (update := self.outbox.take(self.seq + 1)) is None:
                break
            self.seq += 1
            self.serve(update, close=True)
            self.outbox.acked(self.seq)
        assert set(self.ended) == self.closed
        for run, texts in self.sent.items():
            if run not in self.closed:
                assert self.received.get(run, []) == texts


def _texts(entry: LogEntry | FilesEntry | ListenedEntry) -> list[str]:
    return [file.name for file in entry.files] if isinstance(entry, FilesEntry) else [entry.text]


TestDelivery = Delivery.TestCase


def test_what_an_earlier_agent_left_fits_into_frames_in_any_script() -> None:
    """A frame is ASCII: a letter of another script takes six bytes."""
    entries = [LogEntry(run="r1", n=n, text="\u6f22" * 256 * 1024) for n in range(1, 15)]
    outbox = Outbox()
    outbox.restore(PendingState(tasks={"r1": make_task("r1")}, entries=list(entries)))
    taken = take_all(outbox)
    assert [entry.n for update in taken for entry in update.log] == list(range(1, 15))
    assert all(len(encode(update)) <= MAX_FRAME for update in taken)

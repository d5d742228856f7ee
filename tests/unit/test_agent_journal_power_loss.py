"""The journal after a power loss at any moment, with any state that the file system may leave.

The messages that are read must be those written up to some record, complete and in order. They must
include all that the journal reported as durable, even if the disk was full or failed in between.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from support.disk_model import CrashStates, Disk

from trio_afrender import safe_files
from trio_afrender.agent import journal
from trio_afrender.agent.journal import DiskJournal, open_journal
from trio_afrender.agent.journal_format import Message, PendingState, make_record, replay
from trio_afrender.protocol.messages import (
    Events,
    LogEntry,
    RunRef,
    TaskExec,
    TaskStatus,
    TaskUpdate,
    Update,
)

RUNS = ("a", "b", "c")


def make_message(kind: str, run: str, n: int) -> Message:
    match kind:
        case "accept":
            return Events(tasks=(TaskExec(run=run, job=1, block=0, task=RUNS.index(run)),))
        case "log":
            return Update(seq=0, log=(LogEntry(run=run, n=n, text=f"{n}\n" * (n % 7)),))
        case "end":
            update = TaskUpdate(
                run=run, job=1, block=0, task=0, status=TaskStatus.FinishedError, report=str(n)
            )
            return Update(seq=0, tasks=(update,))
        case _:
            return Events(closes=(RunRef(run=run, job=0, block=0, task=0),))


@attrs.define
class Moment:
    """A moment at which the power may fail."""

    states: CrashStates
    durable: int
    """Records that the journal had reported as durable by then, while its disk worked."""
    written: int


@attrs.define
class Recording:
    """A journal that writes, and all its moments."""

    disk: Disk
    journal: DiskJournal
    written: list[Message] = attrs.field(factory=list)
    moments: list[Moment] = attrs.field(factory=list)
    positions: list[int] = attrs.field(factory=lambda: [0])
    durable: int = 0

    def write(self, kind: str, run: str) -> None:
        message = make_message(kind, run, len(self.written))
        self.written.append(message)
        self.positions.append(self.journal.write(make_record(message), sync=kind == "end"))

    def step(self) -> None:
        trio.run(partial(self.journal._write_queued, self._saved, lambda: replay(self.written)))

    def _saved(self) -> None:
        if not self.journal._refused:
            known = [i for i, end in enumerate(self.positions) if end <= self.journal.durable]
            self.durable = max(self.durable, self._synced(max(known)))

    def _synced(self, count: int) -> int:
        """Return how many of the first `count` records survive a crash for certain."""
        # Only outcomes are synced. Any other record is certain only if an outcome follows it.
        ends = [i for i, each in enumerate(self.written[:count], 1) if _ends(each)]
        return max(ends, default=0)

    def record_moment(self) -> None:
        self.moments.append(Moment(self.disk.crash_states(), self.durable, len(self.written)))

    def check(self, moment: Moment, content: bytes | None) -> None:
        """Open what a crash left and compare it with the written messages."""
        held = PendingState() if content is None else read(self.disk.folder / "after", content)
        counts = range(moment.durable, moment.written + 1)
        assert any(held == replay(self.written[:count]) for count in counts)


def _ends(message: Message) -> bool:
    return isinstance(message, Update) and bool(message.tasks)


def read(path: Path, content: bytes) -> PendingState:
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:  # The next agent's disk works.
        patch.setattr(journal, "_rewrite", lambda *_: None)
        return open_journal(path).held


async def work_at_once(work: Callable[[], object]) -> object:
    """Replaces `work_in_thread`."""
    await trio.lowlevel.checkpoint()
    return work()


@contextmanager
def open_recording(compact: int, room: int | None = None) -> Iterator[Recording]:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        disk = Disk(Path(name), room)
        disk.install(journal, patch)
        disk.install(safe_files, patch)
        patch.setattr(journal, "work_in_thread", work_at_once)
        patch.setattr(journal, "COMPACT_AFTER", compact)
        recording = Recording(disk, open_journal(Path(name, "journal")))
        disk.changed = recording.record_moment
        yield recording


def test_at_every_byte_and_in_every_order_of_names() -> None:
    """One recording with appends, syncs and a compaction: all moments, contents and file names."""
    checked = 0
    with open_recording(compact=600) as recording:
        for kind, run in (
            ("accept", "a"), ("log", "a"), ("accept", "b"), ("end", "a"), ("log", "b"),
            ("close", "a"), ("end", "b"), ("accept", "c"), ("log", "c"),
        ):  # fmt: skip
            recording.write(kind, run)
            if kind in ("end", "log"):
                recording.step()
        for moment in list(recording.moments):
            for content in moment.states.contents("journal"):
                recording.check(moment, content)
                checked += 1
        assert any(len(moment.states.names["journal"]) > 1 for moment in recording.moments)
    assert checked > 1000


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["accept", "log", "log", "end", "close"]), st.sampled_from(RUNS)),
        st.tuples(st.just("step"), st.just("")),
        st.tuples(st.just("full"), st.integers(0, 300)),
        st.tuples(st.sampled_from(["free", "broken", "repaired"]), st.just(0)),
    ),
    min_size=1,
    max_size=30,
)


@settings(max_examples=150)
@given(
    STEPS,
    st.integers(200, 2000),
    st.none() | st.integers(0, 200),
    st.randoms(use_true_random=False),
)
def test_through_full_and_broken_disks(
    steps: list[tuple[str, str | int]], compact: int, room: int | None, dice: random.Random
) -> None:
    with open_recording(compact, room) as recording:
        for kind, detail in steps:
            match kind, detail:
                case "step", _:
                    recording.step()
                case "full", int(room):
                    recording.disk.room = room
                case "free", _:
                    recording.disk.room = None
                case "broken" | "repaired", _:
                    recording.disk.broken = kind == "broken"
                case _, str(run):
                    recording.write(kind, run)
        recording.step()
        for moment in recording.moments:
            for _ in range(5):
                recording.check(moment, moment.states.choose("journal", dice))
        recording.disk.room, recording.disk.broken = None, False
        recording.step()
        recording.write("end", "a")
        recording.step()
        recording.record_moment()
        assert recording.moments[-1].durable == len(recording.written), (
            "a repaired disk has everything"
        )
        for content in recording.moments[-1].states.contents("journal"):
            recording.check(recording.moments[-1], content)

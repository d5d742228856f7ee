"""The journal when the power fails: at any moment, and whatever the file system leaves of it.

What must hold: what is read is what had been written up to some record, all of it in order; and what
the journal called durable is in it, be the disk full or broken in between.
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
from support.disk_model import Disk, Wreck

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
    """One at which the power may fail."""

    wreck: Wreck
    durable: int
    """Records that the journal had called durable by then, while its disk was well."""
    written: int


@attrs.define
class Tale:
    """A journal at work, and all the moments of it."""

    disk: Disk
    journal: DiskJournal
    said: list[Message] = attrs.field(factory=list)
    moments: list[Moment] = attrs.field(factory=list)
    positions: list[int] = attrs.field(factory=lambda: [0])
    durable: int = 0

    def say(self, kind: str, run: str) -> None:
        message = make_message(kind, run, len(self.said))
        self.said.append(message)
        self.positions.append(self.journal.write(make_record(message), sync=kind == "end"))

    def step(self) -> None:
        trio.run(partial(self.journal._write_queued, self._saved, lambda: replay(self.said)))

    def _saved(self) -> None:
        if not self.journal._refused:
            known = [i for i, end in enumerate(self.positions) if end <= self.journal.durable]
            self.durable = max(self.durable, self._synced(max(known)))

    def _synced(self, count: int) -> int:
        """Of records that do not end a run nobody says that they are there after a crash, unless
        one that does stands behind them."""
        ends = [i for i, each in enumerate(self.said[:count], 1) if _ends(each)]
        return max(ends, default=0)

    def note(self) -> None:
        self.moments.append(Moment(self.disk.wreck(), self.durable, len(self.said)))

    def judge(self, moment: Moment, content: bytes | None) -> None:
        """Open what a crash left and compare it with what was said."""
        held = PendingState() if content is None else read(self.disk.folder / "after", content)
        counts = range(moment.durable, moment.written + 1)
        assert any(held == replay(self.said[:count]) for count in counts)


def _ends(message: Message) -> bool:
    return isinstance(message, Update) and bool(message.tasks)


def read(path: Path, content: bytes) -> PendingState:
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:  # the next agent's disk is well
        patch.setattr(journal, "_rewrite", lambda *_: None)
        return open_journal(path).held


async def at_once(work: Callable[[], object]) -> object:
    """Stands for a thread."""
    await trio.lowlevel.checkpoint()
    return work()


@contextmanager
def open_tale(compact: int, room: int | None = None) -> Iterator[Tale]:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        disk = Disk(Path(name), room)
        disk.install(journal, patch)
        patch.setattr(journal, "work_in_thread", at_once)
        patch.setattr(journal, "COMPACT_AFTER", compact)
        tale = Tale(disk, open_journal(Path(name, "journal")))
        disk.changed = tale.note
        yield tale


def test_at_every_byte_and_in_every_order_of_names() -> None:
    """One tale with appends, syncs and a compaction; every moment, every content, every name."""
    judged = 0
    with open_tale(compact=600) as tale:
        for kind, run in (
            ("accept", "a"), ("log", "a"), ("accept", "b"), ("end", "a"), ("log", "b"),
            ("close", "a"), ("end", "b"), ("accept", "c"), ("log", "c"),
        ):  # fmt: skip
            tale.say(kind, run)
            if kind in ("end", "log"):
                tale.step()
        for moment in list(tale.moments):
            for content in moment.wreck.contents("journal"):
                tale.judge(moment, content)
                judged += 1
        assert any(len(moment.wreck.names["journal"]) > 1 for moment in tale.moments)
    assert judged > 1000


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["accept", "log", "log", "end", "close"]), st.sampled_from(RUNS)),
        st.tuples(st.just("step"), st.just("")),
        st.tuples(st.just("full"), st.integers(0, 300)),
        st.tuples(st.sampled_from(["free", "broken", "well"]), st.just(0)),
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
    with open_tale(compact, room) as tale:
        for kind, detail in steps:
            match kind, detail:
                case "step", _:
                    tale.step()
                case "full", int(room):
                    tale.disk.room = room
                case "free", _:
                    tale.disk.room = None
                case "broken" | "well", _:
                    tale.disk.broken = kind == "broken"
                case _, str(run):
                    tale.say(kind, run)
        tale.step()
        for moment in tale.moments:
            for _ in range(5):
                tale.judge(moment, moment.wreck.throw("journal", dice))
        tale.disk.room, tale.disk.broken = None, False
        tale.step()
        tale.say("end", "a")
        tale.step()
        tale.note()
        assert tale.moments[-1].durable == len(tale.said), "a disk that is well again has all"
        for content in tale.moments[-1].wreck.contents("journal"):
            tale.judge(tale.moments[-1], content)

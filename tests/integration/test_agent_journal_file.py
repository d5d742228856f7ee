"""The journal on a real disk, and on one that refuses to write."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from trio_afrender.agent import journal as journal_module
from trio_afrender.agent.journal import DiskJournal, open_journal
from trio_afrender.agent.journal_format import MAGIC, PendingState, make_record, read_records
from trio_afrender.errors import StoreError
from trio_afrender.protocol.messages import Events, LogEntry, TaskExec, Update

TASK = TaskExec(run="a", job=1, block=0, task=2)
ACCEPTED = Events(tasks=(TASK,))


def log(n: int, text: str = "line\n") -> Update:
    return Update(seq=0, log=(LogEntry(run="a", n=n, text=text),))


class Saved:
    """Receives a message for each write, so that a test can wait for one."""

    def __init__(self) -> None:
        self.send, self.receive = trio.open_memory_channel[None](math.inf)

    def __call__(self) -> None:
        self.send.send_nowait(None)


@asynccontextmanager
async def running(journal: DiskJournal, now: PendingState | None = None) -> AsyncIterator[Saved]:
    saved = Saved()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(journal.run, saved=saved, now=lambda: now or PendingState()))
        yield saved
        nursery.cancel_scope.cancel()


async def test_durable_records_are_on_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = open_journal(path)
    assert journal.held == PendingState()
    async with running(journal) as saved:
        journal.write(make_record(ACCEPTED))
        position = journal.write(make_record(log(1)), sync=True)
        await saved.receive.receive()
        assert journal.durable == position
        assert read_records(path.read_bytes()) == (ACCEPTED, log(1))
        journal.write(make_record(log(2)))
    held = open_journal(path).held
    assert held.tasks == {"a": TASK}
    assert [entry.n for entry in held.entries] == [1, 2], "the end of `run` writes the rest"
    if sys.platform != "win32":  # has no modes
        assert path.stat().st_mode & 0o777 == 0o600


async def test_a_task_is_recorded_before_its_tree_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while records are held for others, and on a disk that is slow."""
    monkeypatch.setattr(journal_module, "_BATCH_DELAY", math.inf)
    path = tmp_path / "journal"
    journal = open_journal(path)
    async with running(journal) as saved:
        for n in range(1, 4):
            journal.write(make_record(log(n)))
            with trio.fail_after(20):
                await journal.wait_written()
            assert read_records(path.read_bytes()) == tuple(map(log, range(1, n + 1)))
        await journal.wait_written()
        journal.write_now()  # nothing is queued: the next record is held again
        for _ in range(3):
            saved.receive.receive_nowait()
        journal.write(make_record(ACCEPTED))
        with trio.move_on_after(0.01):
            await saved.receive.receive()
        assert len(read_records(path.read_bytes())) == 3
        journal.write_now()
        await saved.receive.receive()
        assert read_records(path.read_bytes())[3:] == (ACCEPTED,)
        _slow_down(monkeypatch)
        journal.write(make_record(log(4)))
        await journal.wait_written()
        assert read_records(path.read_bytes())[4:] == (log(4),)
    monkeypatch.setattr(journal_module, "_WRITE_TIMEOUT", 0.05)
    journal.write(make_record(ACCEPTED))  # nothing writes any more
    with trio.fail_after(20):
        await journal.wait_written()


def _slow_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make each write of a journal take 0.3 s."""
    append = journal_module._append

    def append_late(path: Path, size: int, data: bytes, *, sync: bool) -> None:
        time.sleep(0.3)
        append(path, size, data, sync=sync)

    monkeypatch.setattr(journal_module, "_append", append_late)


async def test_writing_continues_after_a_torn_record(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    whole = MAGIC + make_record(ACCEPTED) + make_record(log(1))
    path.write_bytes(whole + make_record(log(2))[:-3])
    journal = open_journal(path)
    assert path.read_bytes() == whole
    async with running(journal):
        journal.write(make_record(log(3)), sync=True)
    assert read_records(path.read_bytes()) == (ACCEPTED, log(1), log(3))


@pytest.mark.parametrize("length", range(len(MAGIC)))
def test_a_journal_torn_in_its_first_line_counts_as_empty(length: int, tmp_path: Path) -> None:
    (tmp_path / "journal").write_bytes(MAGIC[:length])
    assert open_journal(tmp_path / "journal").held == PendingState()


def test_the_journal_of_another_version_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b"trio_afrender journal 2\n and more")
    with pytest.raises(StoreError, match="another version; let that version deliver"):
        open_journal(path)
    assert path.read_bytes().endswith(b"and more")


async def test_a_disk_that_refuses_delays_no_outcome_and_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    journal = open_journal(folder / "journal")
    caplog.set_level("INFO")
    held = PendingState(tasks={"a": TASK})
    async with running(journal, held) as saved:
        (folder / "journal").unlink()
        folder.rmdir()
        folder.touch()
        position = journal.write(make_record(log(1)), sync=True)
        await saved.receive.receive()
        assert journal.durable == position
        assert "cannot be written: " in caplog.text
        position = journal.write(make_record(log(2)), sync=True)
        assert journal.durable == position, "no result waits for a disk that refuses"
        folder.unlink()
        folder.mkdir()
    assert open_journal(folder / "journal").held == held, "the last write has everything"
    assert "is written again" in caplog.text


async def test_records_that_a_host_had_no_memory_for_are_written_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal"
    journal = open_journal(path)

    def refuse(*_: object, sync: bool) -> None:
        raise MemoryError

    async with running(journal, PendingState(tasks={"a": TASK})) as saved:
        with monkeypatch.context() as patch:
            patch.setattr("trio_afrender.agent.journal._append", refuse)
            journal.write(make_record(log(1)), sync=True)
            await saved.receive.receive()
        journal.write(make_record(log(2)), sync=True)
    assert open_journal(path).held.tasks == {"a": TASK}


async def test_a_journal_that_could_not_be_created_is_complete_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal_module, "_rewrite", refuse)
        journal = open_journal(tmp_path / "journal")
    async with running(journal, PendingState(tasks={"a": TASK})):
        journal.write(make_record(ACCEPTED), sync=True)
    assert open_journal(tmp_path / "journal").held.tasks == {"a": TASK}


async def test_a_long_journal_is_compacted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "COMPACT_AFTER", 10_000)
    path = tmp_path / "journal"
    journal = open_journal(path)
    async with running(journal, PendingState(tasks={"a": TASK})) as saved:
        for n in range(20):
            journal.write(make_record(log(n, "x" * 1000)))
            await saved.receive.receive()
            assert path.stat().st_size < 12_000
    assert open_journal(path).held.tasks == {"a": TASK}


async def test_an_outcome_that_comes_while_a_write_waits_for_a_thread_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by the last write of an agent that ends at that moment."""
    journal = open_journal(tmp_path / "journal")
    synced: list[bool] = []
    waiting = trio.Event()

    def append(_path: Path, _size: int, _data: bytes, *, sync: bool) -> None:
        synced.append(sync)

    async def work(call: Callable[[], None]) -> None:
        if not waiting.is_set():
            waiting.set()
            await trio.sleep_forever()
        call()

    monkeypatch.setattr("trio_afrender.agent.journal._append", append)
    monkeypatch.setattr("trio_afrender.agent.journal.work_in_thread", work)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(journal.run, saved=lambda: None, now=PendingState))
        journal.write(b"progress")
        await waiting.wait()
        journal.write(b"outcome", sync=True)
        nursery.cancel_scope.cancel()
    assert synced == [True]

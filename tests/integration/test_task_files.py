"""Files that a task leaves for the server: limits, the spool beside the journal, agents that are killed."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
import trio
from support.agent_program import open_agent as open_agent_of
from support.agent_program import open_server, submit
from support.loopback_farm import block, open_agent, open_loopback_farm, reasons
from support.polling import until

from trio_afrender.farm.settings import FarmSettings
from trio_afrender.protocol.messages import FilesEntry, TaskFile, TaskKey, Update
from trio_afrender.task.collected_files import FileBatch, SentFiles, read_batch
from trio_afrender.task.file_spool import FileSpool, is_spooled
from trio_afrender.tasklog.redact import Redactor

MIB = 1024 * 1024


def fill(folder: Path, count: int, size: int) -> None:
    folder.mkdir(exist_ok=True)
    first = folder / "00000.txt"
    first.write_bytes(b"x" * size)
    for number in range(1, count):
        (folder / f"{number:05}.txt").hardlink_to(first)


def read_all(folder: Path, sent: SentFiles) -> list[FileBatch]:
    """Read batch after batch at the end of a run."""
    batches = [read_batch(str(folder), sent, Redactor(()), None, last=True)]
    sent.add(batches[-1])
    while batches[-1].more:
        batches.append(read_batch(str(folder), sent, Redactor(()), None, last=True))
        sent.add(batches[-1])
    return batches


@pytest.mark.parametrize(
    ("count", "size", "most", "most_bytes", "done"),
    [
        (600, 10, 1000, MIB, 600),
        (1000, 10, 1000, MIB, 1000),
        (1001, 10, 1000, MIB, 1000),
        (100, 90_000, 1000, 64 * MIB, 100),
        (100, 90_000, 1000, 9_000_000, 100),
        (100, 90_000, 1000, 8_999_999, 99),
        (3, 90_000, 1000, 1, 0),
        (0, 0, 1000, MIB, 1),
    ],
)
def test_a_run_sends_files_up_to_its_limits_in_bounded_batches(
    tmp_path: Path, count: int, size: int, most: int, most_bytes: int, done: int
) -> None:
    fill(tmp_path / "files", count, size)
    sent = SentFiles(most=most, most_bytes=most_bytes)
    batches = read_all(tmp_path / "files", sent)
    names = [file.name for batch in batches for file in batch.files]
    assert names == sorted(names) == [f"{number:05}.txt" for number in range(done)]
    assert max(sum(len(file.data) for file in batch.files) for batch in batches) <= 3 * MIB
    left = max(count, 1) - done
    assert (f"{left} files of the task were not sent, {done} were" in batches[-1].left_out) is (
        left > 0
    )


def test_large_files_are_counted_and_do_not_stand_in_the_way(tmp_path: Path) -> None:
    fill(tmp_path / "files", 300, 100_000)
    (tmp_path / "files" / "z.txt").write_bytes(b"small")
    (batch,) = read_all(tmp_path / "files", SentFiles(most=1000, most_bytes=MIB))
    assert [file.name for file in batch.files] == ["z.txt"]
    assert batch.left_out == "300 files of 100000 bytes and more were not sent"


def test_a_run_that_has_sent_all_it_may_does_not_look_again(tmp_path: Path) -> None:
    sent = SentFiles(most=1, most_bytes=MIB, names={"a"})
    assert read_batch(str(tmp_path), sent, Redactor(()), None, last=False) == FileBatch()


def test_a_disk_that_refuses_keeps_few_files_in_memory_and_counts_the_others(
    tmp_path: Path,
) -> None:
    def refuse(files: Sequence[TaskFile]) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    fill(tmp_path / "files", 100, 90_000)
    sent = SentFiles(most=1000, most_bytes=64 * MIB)
    batches: list[FileBatch] = []
    while not batches or batches[-1].more:
        batches.append(read_batch(str(tmp_path / "files"), sent, Redactor(()), refuse, last=True))
        sent.add(batches[-1])
    assert 0 < sent.unstored <= 4 * MIB
    left = 100 - len(sent.names)
    assert batches[-1].left_out.startswith(f"{left} files of the task were not sent")
    assert "No space left on device" in batches[-1].left_out


@pytest.mark.parametrize("name", ["scandir", "open"])
def test_a_missing_descriptor_is_not_a_missing_file(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller tries again: the files of a finished render must not be lost."""

    def refuse(*args: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    fill(tmp_path / "files", 2, 10)
    monkeypatch.setattr(os, name, refuse)
    with pytest.raises(OSError, match="Too many open files"):
        read_all(tmp_path / "files", SentFiles(most=10, most_bytes=MIB))


def test_names_and_contents_are_redacted_before_they_are_stored(tmp_path: Path) -> None:
    (tmp_path / "hunter22.txt").write_bytes(b"is hunter22")
    stored: list[TaskFile] = []
    sent = SentFiles(most=10, most_bytes=MIB)
    batch = read_batch(str(tmp_path), sent, Redactor(("hunter22",)), stored.extend, last=True)
    sent.add(batch)
    assert stored == [TaskFile(name="[redacted].txt", data=b"is ********")]
    assert batch.files == (TaskFile(name="[redacted].txt", data=b""),)
    again = read_batch(str(tmp_path), sent, Redactor(("hunter22",)), stored.extend, last=True)
    assert again.files == ()


def spooled(run: str, *names: str) -> Update:
    entries = (
        FilesEntry(run=run, n=n, files=(TaskFile(name=name, data=b""),))
        for n, name in enumerate(names, 1)
    )
    return Update(seq=1, files=tuple(entries))


def test_the_spool_returns_what_was_stored_until_the_run_is_forgotten(tmp_path: Path) -> None:
    spool, name = FileSpool(tmp_path / "spool"), "../" + "é" * 200
    spool.write("r/1", [TaskFile(name=name, data=b"one"), TaskFile(name="empty", data=b"")])
    spool.write("r2", [TaskFile(name=name, data=b"two")])
    later = FileSpool(tmp_path / "spool")  # of the next agent
    update = later.load(spooled("r/1", name, "empty"))
    assert [entry.files for entry in update.files] == [
        (TaskFile(name=name, data=b"one"),),
        (TaskFile(name="empty", data=b""),),
    ]
    (folder,) = later.forget(["r/1", "unknown"])
    assert folder.parent == tmp_path / "spool"
    assert later.forget(["r/1"]) == []
    later.remove_others(["r2"])
    assert later.load(spooled("r2", name)).files[0].files[0].data == b"two"
    later.remove_others([])
    assert [path for path in (tmp_path / "spool").iterdir() if path != folder] == []


def test_a_missing_content_leaves_its_entry_empty(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its number is acknowledged like any other; what was refused by the disk is sent as it is."""
    spool, kept = FileSpool(tmp_path / "spool"), TaskFile(name="b", data=b"in memory")
    entry = FilesEntry(run="r1", n=1, files=(TaskFile(name="a", data=b""), kept))
    assert not is_spooled(kept)
    assert spool.load(Update(seq=1, files=(entry,))).files == (
        FilesEntry(run="r1", n=1, files=(kept,)),
    )
    assert "run r1: a is not sent: No such file or directory" in caplog.text


WRITE_FILES = """
import os, sys
os.chdir("../files")
open("00000.txt", "wb").write(b"x" * 90_000)
for number in range(1, 12_000):
    os.link("00000.txt", f"{number:05}.txt")
for number in range(200_000):
    print("line", number)
"""


async def test_12000_files_and_200000_lines_cost_no_memory_and_no_silence(tmp_path: Path) -> None:
    """The agent stays within 64 MiB of before, an update comes at least every 5 s."""
    program = tmp_path / "attack.py"
    program.write_text(WRITE_FILES)
    async with open_loopback_farm(tmp_path) as loopback:
        async with open_agent(tmp_path, loopback.server) as agent:
            await loopback.run(block("echo before"))
            process = psutil.Process(agent.process.pid)
            before, peak, silence = process.memory_info().rss, 0, 0.0

            async def watch() -> None:
                nonlocal peak, silence
                received, at = 0.0, trio.current_time()
                while True:
                    peak = max(peak, process.memory_info().rss)
                    (render,) = loopback.farm.state.renders.values()
                    if render.last_seen != received:
                        received, at = render.last_seen, trio.current_time()
                    silence = max(silence, trio.current_time() - at)
                    await trio.sleep(0.05)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch)
                job = await loopback.run(
                    block(f"{sys.executable} {program}", "echo beside", parser="generic")
                )
                nursery.cancel_scope.cancel()
            assert [task.state for task in job.tasks] == ["done", "done"]
            assert [task.attempts for task in job.tasks] == [1, 1]
            sent = 64 * MIB // 90_000
            assert f"{12_000 - sent} files of the task were not sent, {sent} were" in reasons(
                job.tasks[0]
            )
            assert peak - before < 64 * MIB
            assert silence < 5.0
            spool = tmp_path / "store" / "trio_afrender" / "render-1" / "spool"
            await until(lambda: not list(spool.iterdir()))
            agent.process.send_signal(signal.SIGTERM)
            assert await agent.wait() == 0


async def test_files_of_an_agent_that_is_killed_are_sent_by_the_next_one(tmp_path: Path) -> None:
    """The farm does not answer when the task ends: the files are in the journal and the spool only."""
    program = (
        f"touch {tmp_path}/up; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done;"
        " for i in 1 2 3; do printf text$i > ../files/$i.txt; done; sleep 0.1"
    )
    async with open_server(tmp_path, FarmSettings(zombie_time=600.0)) as (farm, url):
        job = submit(farm, program)
        async with open_agent_of(tmp_path, url, leaves=True) as agent:
            await until((tmp_path / "up").exists)
            (journal,) = (tmp_path / "store").rglob("journal")
            (tmp_path / "go").touch()
            # Until then this loop lets no farm answer.
            while b"3.txt" not in (records := journal.read_bytes()):
                time.sleep(0.01)  # noqa: ASYNC251 - see above
            agent.process.kill()
            assert b"dGV4dD" not in records, "contents are in the spool"
            assert [path.read_bytes() for path in sorted(journal.parent.glob("spool/*/*"))] != []
            await agent.wait()
        async with open_agent_of(tmp_path, url) as agent:
            (task,) = (await farm.wait(job)).tasks
            await until(lambda: not list(journal.parent.glob("spool/*")))
            agent.process.send_signal(signal.SIGTERM)
            assert await agent.wait() == 0
        assert task.state == "done"
        names = [path.name for path in task.files]
        texts = [farm.state.texts.read_file(TaskKey(job, 0, 0), name) for name in names]
        assert dict(zip(names, texts, strict=True)) == {
            f"{number}.txt": f"text{number}".encode() for number in (1, 2, 3)
        }

"""Logs on disk, filled from real pipes as a task supervisor does it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from support.polling import GUARD
from support.process import open_descriptors
from support.written_log import WrittenLog, open_written_log

from trio_afrender.tasklog import head_tail
from trio_afrender.tasklog.head_tail import read_window
from trio_afrender.tasklog.interfaces import Chunk, LogReader
from trio_afrender.tasklog.segments import open_reader


@contextmanager
def open_pipe() -> Iterator[tuple[int, Callable[[bytes], int], Callable[[], None]]]:
    """Return the reading end, and functions that write to the other one and close it."""
    out, into = os.pipe()
    os.set_blocking(out, False)
    ends = [out, into]

    def close() -> None:
        ends.remove(into)
        os.close(into)

    try:
        yield out, partial(os.write, into), close
    finally:
        for end in ends:
            os.close(end)


def read_all(reader: LogReader) -> bytes:
    found = bytearray()
    while chunk := reader.read(len(found), 100_000).data:
        found += chunk
    assert len(found) == reader.size()
    return bytes(found)


async def test_bytes_from_a_pipe_are_in_the_log(tmp_path: Path) -> None:
    with trio.fail_after(10), open_pipe() as (out, write, close):
        async with open_written_log(tmp_path / "log", quota=1 << 26, segment=1 << 16) as log:
            write(b"one\n")
            assert await log.fill_from(out) == 4
            assert log.size == 4
            assert log.reader().read(0, 100) == Chunk(0, b"one\n")
            await log.append(b"two\n")
            write(b"three\n")
            close()
            assert await log.fill_from(out) == 6
            assert await log.fill_from(out) == 0
            assert await log.fill_from(out) == 0
            assert read_all(log.reader()) == b"one\ntwo\nthree\n"
            assert log.reader().read(4, 3) == Chunk(4, b"two")
            assert (log.size, log.lost, log.ended) == (14, 0, False)
            assert (await read_window(log, 100)).text == "one\ntwo\nthree\n"


async def test_a_large_output_is_complete_and_in_order(tmp_path: Path) -> None:
    data = b"".join(b"%07d\n" % number for number in range(300_000))
    with trio.fail_after(30), open_pipe() as (out, write, close):

        def write_all() -> None:
            for at in range(0, len(data), 50_001):
                piece = data[at : at + 50_001]
                while piece:
                    piece = piece[write(piece) :]
            close()

        async def pump(log: WrittenLog) -> None:
            while await log.fill_from(out):
                assert log.size <= log.reader().size()
            log.end()

        async def follow(log: WrittenLog) -> None:
            reader, at = log.reader(), 0
            while not log.ended or at < log.size:
                size = await log.wait_beyond(at)
                while at < size:
                    chunk = reader.read(at, 65_536)
                    assert chunk.data == data[at : chunk.end]
                    assert chunk.end > at
                    at = chunk.end
            assert at == len(data)

        async with (
            open_written_log(tmp_path / "log", quota=1 << 26, segment=1 << 16) as log,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(trio.to_thread.run_sync, write_all)
            nursery.start_soon(pump, log)
            for _ in range(3):
                nursery.start_soon(follow, log)
        assert read_all(log.reader()) == data


async def test_leaving_closes_all_descriptors_and_keeps_the_log(tmp_path: Path) -> None:
    # The event loop and the first threads open descriptors of their own: before the count.
    async with open_written_log(tmp_path / "first") as log:
        await log.append(b"x")
    before = open_descriptors()
    async with open_written_log(tmp_path / "log") as log:
        await log.append(b"to stay")
        assert log.folder == tmp_path / "log"
    assert log.ended
    assert open_descriptors() <= before
    assert read_all(open_reader(tmp_path / "log")) == read_all(log.reader()) == b"to stay"
    async with open_written_log(tmp_path / "log") as again:
        assert again.size == 7
        await again.append(b" and more")
    assert read_all(open_reader(tmp_path / "log")) == b"to stay and more"


async def test_a_folder_that_vanishes_stops_no_output(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    with open_pipe() as (out, write, close):
        async with open_written_log(folder, segment=1000, quota=4000, held=500) as log:
            await log.append(b"a" * 1000)
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
            folder.touch()  # a file in its place
            write(b"b" * 3000)
            assert await log.fill_from(out) == 3000
            close()
            assert await log.fill_from(out) == 0
            assert (log.size, log.lost) == (4000, 3000)
            window = await read_window(log, 200)
            assert window.text.endswith("b" * 100)
            assert (window.size, window.left_out_bytes) == (4000, 3900)


async def test_a_cancelled_window_does_not_wait_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, released, ended = threading.Event(), threading.Event(), threading.Event()

    def hang(*words: object) -> None:
        """As on a share without its server."""
        begun.set()
        released.wait(GUARD)
        ended.set()

    monkeypatch.setattr(head_tail, "make_window", hang)
    async with open_written_log(tmp_path / "log") as log:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read_window, log, 100)
            assert await trio.to_thread.run_sync(begun.wait, GUARD)
            nursery.cancel_scope.cancel()
        assert not ended.is_set()
        released.set()
        assert await trio.to_thread.run_sync(ended.wait, GUARD)


async def test_both_readers_of_a_disk_log_agree(tmp_path: Path) -> None:
    async with open_written_log(tmp_path, segment=1000, quota=4000) as log:
        for number in range(100):
            await log.append(b"%099d\n" % number)
        live, folder = log.reader(), open_reader(tmp_path)
        assert live.size() == folder.size() == log.size == 10_000
        assert live.missing(10_000) == folder.missing(10_000)
        assert live.missing(10_000).bytes == 6000
        for at in range(0, 10_000, 501):
            assert live.read(at, 700) == folder.read(at, 700)


FILLER = """
import sys, trio
from pathlib import Path
from support.written_log import open_written_log

async def main():
    async with open_written_log(Path(sys.argv[1]), quota=1 << 28, segment=1 << 18) as log:
        while await log.fill_from(int(sys.argv[2])):
            pass

trio.run(main)
"""


async def test_an_agent_killed_while_filling_loses_no_byte(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    data = b"".join(b"%07d\n" % number for number in range(500_000))
    last = threading.Event()
    reader = open_reader(folder)
    with trio.fail_after(60), open_pipe() as (out, write, close):

        def write_all() -> None:
            piece = data
            while piece:
                if len(piece) <= len(data) // 5:
                    last.wait(60)  # else a process could end by itself, before it is killed
                piece = piece[write(piece[:40_000]) :]
            close()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, write_all)
            for share in range(1, 4):
                command = [sys.executable, "-c", FILLER, str(folder), str(out)]
                environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
                process = await trio.lowlevel.open_process(command, pass_fds=[out], env=environment)
                while reader.size() < share * len(data) // 5:
                    assert process.poll() is None
                    await trio.lowlevel.checkpoint()
                process.kill()
                await process.wait()
            last.set()
            async with open_written_log(folder, quota=1 << 28) as log:
                while await log.fill_from(out):
                    pass
    assert read_all(open_reader(folder)) == data

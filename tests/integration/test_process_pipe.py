"""The pump of an output pipe, cancelled and closed while a thread is at work for it."""

from __future__ import annotations

import os

import pytest
import trio

from trio_afrender.process.pipe import Pipe, open_pipe
from trio_afrender.tasklog.memory_log import MemoryLog


class SlowLog(MemoryLog):
    """A disk that takes its time, and cannot be interrupted."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = trio.Event()
        self.may_continue = trio.Event()

    async def fill_from(self, fd: int) -> int:
        self.begun.set()
        moved = 0
        with trio.CancelScope(shield=True):
            await self.may_continue.wait()
            moved += await super().fill_from(fd)
        return moved


@pytest.mark.parametrize("cancelled", [True, False])
async def test_closing_a_busy_pipe_ends_its_pump(cancelled: bool) -> None:
    reader, writer = open_pipe()
    pipe, log = Pipe(reader), SlowLog()
    os.write(writer, b"text")
    ends: list[str] = []
    scope = trio.CancelScope()

    async def pump() -> None:
        with scope:
            try:
                await pipe.pump(log)
            except trio.ClosedResourceError:
                ends.append("closed")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump)
        await log.begun.wait()
        if cancelled:
            scope.cancel()
        await pipe.aclose()
        log.may_continue.set()
    os.close(writer)
    assert log.size == 4, "what a thread has begun is finished"
    assert ends == ([] if cancelled else ["closed"])

"""A listener that waits where no connection can be accepted."""

from __future__ import annotations

import errno
import logging
import os

import pytest
import trio
import trio.testing

from trio_afrender.transport.waiting_listener import WaitingListener

MemoryStream = trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream]


class Refusing(trio.abc.Listener[MemoryStream]):
    """Refuses so many connections, then accepts one."""

    def __init__(self, number: int, times: int) -> None:
        self.number, self.times = number, times

    async def accept(self) -> MemoryStream:
        await trio.lowlevel.checkpoint()
        if self.times:
            self.times -= 1
            raise OSError(self.number, os.strerror(self.number))
        return trio.testing.memory_stream_pair()[0]

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS])
async def test_a_connection_waits_for_a_descriptor(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    caplog.set_level(logging.INFO)
    listener = WaitingListener(Refusing(number, 1300), "agents")
    began = trio.current_time()
    async with await listener.accept():
        assert trio.current_time() - began == pytest.approx(130)
    lines = [record.getMessage() for record in caplog.records]
    refused = f"agents: no connection can be accepted now: {os.strerror(number)}"
    assert [line for line in lines if "more" not in line] == [refused] * 3
    sums = [line.split()[6] for line in lines if "more within 60 s" in line]
    assert [int(each) for each in sums] == [pytest.approx(599, abs=1)] * 2


async def test_other_errors_are_raised(autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        await WaitingListener(Refusing(errno.EBADF, 1), "agents").accept()

"""The log message of a lost link names the cause, not a consequence."""

from __future__ import annotations

from functools import partial

import pytest
import trio
from trio.testing import MockClock

from trio_afrender import Config, run_agent
from trio_afrender.protocol.messages import Events, TaskExec
from trio_afrender.testing import MemoryHost, open_scripted_server


async def test_an_invalid_message_is_the_cause_although_the_writer_fails_first(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The server sends an invalid message and then nothing, so that closing takes a while."""
    host = MemoryHost()
    async with open_scripted_server() as server, trio.open_nursery() as nursery:
        await nursery.start(
            partial(run_agent, Config(name="n1"), connect=server.connect, outside=host.open())
        )
        link = await server.accept()
        await link.welcome()
        task = TaskExec(run="r1", job=2, block=0, task=0, parser="generic", command_block="render")
        await link.send(Events(tasks=(task,)))
        child = await host.spawn.next()
        await link.send_text("what?")
        server.listener.fall_silent()
        for percent in range(1, 20):
            await child.write(b"PROGRESS: %d%%\n" % percent)
            await trio.sleep(0.25)
        nursery.cancel_scope.cancel()
    [line] = [line for line in caplog.messages if line.startswith("no link to the server")]
    assert "frame is not JSON" in line

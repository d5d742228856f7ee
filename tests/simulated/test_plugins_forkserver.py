"""The fork server of plugin hosts at its end."""

from __future__ import annotations

import socket
from typing import cast

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_afrender.plugins.host import forkserver
from trio_afrender.plugins.host.forkserver import ForkServer


class Ended:
    """A process that has been reaped. Its pid is larger than any pid of the system."""

    pid = 2**30

    async def wait(self) -> int:
        await trio.lowlevel.checkpoint()
        return 0


async def test_a_host_that_is_forked_late_does_not_delay_the_end(autojump_clock: MockClock) -> None:
    """One host is being forked for a cancelled caller while the last other host is reaped."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        server = ForkServer(cast("trio.Process", Ended()), ours)
        for number in (1, 2):
            server._forks[number] = forkserver._PendingFork()
        server._take({"id": 1, "pid": 2**30 + 1})
        started = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.end)
            await wait_all_tasks_blocked()
            server._take({"id": 2, "pid": 2**30 + 2})
            for host in (1, 2):
                server._take({"reaped": 2**30 + host, "status": 9})
        assert trio.current_time() == started

"""The template of plugin hosts at its end."""

from __future__ import annotations

import socket
from typing import cast

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_afrender.plugins.host import forkserver
from trio_afrender.plugins.host.forkserver import ForkServer


class Ended:
    """A process of which nothing is left; no number of a process is as large as its."""

    pid = 2**30

    async def wait(self) -> int:
        await trio.lowlevel.checkpoint()
        return 0


async def test_a_host_that_comes_late_does_not_make_the_end_wait(autojump_clock: MockClock) -> None:
    """One was being made for somebody who has gone, while the last of the others was reaped."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        template = ForkServer(cast("trio.Process", Ended()), ours)
        for number in (1, 2):
            template._forks[number] = forkserver._PendingFork()
        template._take({"id": 1, "pid": 2**30 + 1})
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(template.end)
            await wait_all_tasks_blocked()
            template._take({"id": 2, "pid": 2**30 + 2})
            for host in (1, 2):
                template._take({"reaped": 2**30 + host, "status": 9})
        assert trio.current_time() == began

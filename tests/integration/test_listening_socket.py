"""Supervisors without a free descriptor: they do not spin, still serve, and accept later."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import count
from pathlib import Path

import psutil
import pytest
import trio
from support.polling import until
from support.process import make_program, open_trees
from support.process_contract import TERM

from trio_afrender.message_framing import FrameReader, encode
from trio_afrender.process.interfaces import TreeSignal
from trio_afrender.process.supervised_tree import SupervisedTree
from trio_afrender.supervisor.paths import socket_path
from trio_afrender.supervisor.unix_sockets import connect, supervisor_path

QUIET = 0.5
"""Seconds in which a pending connection must cost nothing."""


@contextmanager
def without_descriptors(pid: int) -> Iterator[Callable[[], object]]:
    """Let a process open no further descriptor; yield what permits it again."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    opened = {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}
    free = next(number for number in count() if number not in opened)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, before[1]))
    permit = partial(resource.prlimit, pid, resource.RLIMIT_NOFILE, before)
    try:
        yield permit
    finally:
        permit()


def read_cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def receive(sock: socket.socket) -> dict[str, object]:
    """Return the first message that arrives within ten seconds."""
    sock.settimeout(10)
    frames = FrameReader()
    while data := sock.recv(65536):
        for message in frames.feed(data):
            return message
    raise EOFError


def check_quiet(pid: int, sock: socket.socket) -> None:
    """A pending connection gets nothing, and costs nearly nothing."""
    used = read_cpu(pid)
    sock.settimeout(QUIET)
    with pytest.raises(TimeoutError):
        sock.recv(1)
    assert read_cpu(pid) - used < QUIET / 4


async def test_a_supervisor_without_descriptors_does_not_spin(tmp_path: Path) -> None:
    """It has one left for the agent that takes over its trees."""
    path = supervisor_path(str(tmp_path), "sock")
    async with open_trees(tmp_path) as trees, trees.start("obeys") as started:
        pid = psutil.Process(started.tree.pid).parents()[1].pid
        with closing(connect(path)) as agent:
            receive(agent)  # before, the supervisor closes what the start of the tree needed
            with without_descriptors(pid), closing(connect(path)) as first:
                assert receive(first)["records"]
                second = connect(path)
                check_quiet(pid, second)
        with closing(second):
            assert receive(second)["records"], "accepted when it could be"
        assert await started.tree.signal_tree(TERM)
        await started.tree.exited()


async def test_a_task_supervisor_without_descriptors_still_serves_its_agent(tmp_path: Path) -> None:
    async with open_trees(tmp_path) as trees:
        launch = trees.place(make_program("exit_on_term.py"))
        async with trees.run(launch) as started:
            tree = started.tree
            assert isinstance(tree, SupervisedTree)
            pid = tree.state.parent
            log = Path(supervisor_path(str(tmp_path), "log"))
            path = socket_path(launch.persistence.record)
            with without_descriptors(pid) as permit, closing(connect(path)) as first:
                first.sendall(encode({"op": "state"}))
                check_quiet(pid, first)
                # Needs no descriptor; what does need one is repeated until there is one.
                assert await tree.held() == (b"", ())
                async with trio.open_nursery() as nursery:
                    resumed: list[tuple[int, ...]] = []

                    async def resume() -> None:
                        resumed.append(await started.tree.signal_tree(TreeSignal.RESUME))

                    nursery.start_soon(resume)
                    await until(lambda: "cannot do 'resume' now" in log.read_text())
                    permit()
                assert resumed == [(started.tree.pid,)]
                assert receive(first)["state"]
            assert await started.tree.signal_tree(TERM)
            await started.tree.exited()

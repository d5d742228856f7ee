"""The contract of `ProcessTree`: the real implementations and the fake pass the same checks.

A `TreeStarter` starts a tree of each shape by its own means; the checks use the interface alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Literal, Protocol, TypeAlias

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_afrender.errors import SpawnError
from trio_afrender.process.interfaces import Launch, Persistence, ProcessTree, Spawn, TreeSignal
from trio_afrender.tasklog.interfaces import RunLog

TERM, KILL = TreeSignal.TERM, TreeSignal.KILL
GUARD = 20
"""Seconds after which a check fails; no passing check waits for it."""

NO_PERSISTENCE = Persistence(record="", log="", quota=0, agent_timeout=0, grace=0)
"""For trees that never start, or are fakes."""

Shape: TypeAlias = Literal["obeys", "ignores", "exits", "leaves", "forks"]
"""`obeys` and `ignores` are about TERM; `exits` prints "hello" and ends with code 3; `leaves` ends
with code 3 too, but leaves a member that ignores TERM and holds the output; `forks` runs with a
member, and both obey."""


@attrs.frozen
class StartedTree:
    """A tree that has printed all of its output, or that runs on."""

    tree: ProcessTree
    log: RunLog
    ended: trio.Event
    """Set when the output has ended."""

    @property
    def printed(self) -> bytes:
        return self.log.reader().read(0, 1 << 20).data

    @property
    def members(self) -> tuple[int, ...]:
        """Pids of the members besides the leader, which the tree has printed."""
        words = [line.split() for line in self.printed.splitlines()]
        return tuple(int(each[1]) for each in words if each[0] == b"member")


class TreeStarter(Protocol):
    @property
    def spawn(self) -> Spawn: ...

    def start(self, shape: Shape) -> AbstractAsyncContextManager[StartedTree]: ...


@asynccontextmanager
async def watch(
    tree: ProcessTree, log: RunLog, *, until: bytes = b"up\n"
) -> AsyncIterator[StartedTree]:
    """Pump the output, and yield once it contains `until`; kill and reap the tree at the end."""
    started = StartedTree(tree, log, trio.Event())

    async def pump() -> None:
        await tree.output.pump(started.log)
        started.ended.set()

    with trio.fail_after(GUARD):
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pump)
                while until not in started.printed:
                    await started.log.wait_beyond(started.log.size)
                yield started
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                assert await tree.kill_until_empty(GUARD) == ()
                await tree.reap()
                await tree.output.aclose()


async def check_term_ends_a_tree_that_obeys(trees: TreeStarter) -> None:
    async with trees.start("obeys") as started:
        tree = started.tree
        assert await tree.signal_tree(TERM) == (tree.pid,)
        await tree.exited()
        await tree.wait_empty()
        await started.ended.wait()
        assert await tree.kill_until_empty(1) == ()
        status = await tree.reap()
        assert (status.code, status.signal, status.raw) == (None, 15, 15)
        assert str(status) == "signal 15"


async def check_kill_ends_a_tree_that_ignores_term(trees: TreeStarter) -> None:
    async with trees.start("ignores") as started:
        tree = started.tree
        assert await tree.signal_tree(TERM) == (tree.pid,)
        assert await tree.signal_tree(KILL) == (tree.pid,)
        await tree.wait_empty()
        assert (await tree.reap()).signal == 9


async def check_exit_code_and_output_are_complete(trees: TreeStarter) -> None:
    async with trees.start("exits") as started:
        await started.tree.exited()
        await started.ended.wait()
        assert started.printed == b"hello\n"
        assert await started.tree.signal_tree(KILL) == ()
        assert await started.tree.kill_until_empty(1) == ()
        status = await started.tree.reap()
        assert (status.code, status.signal, status.raw) == (3, None, 3 << 8)
        assert str(status) == "exit code 3"


async def check_calls_may_be_repeated_after_the_end(trees: TreeStarter) -> None:
    async with trees.start("exits") as started:
        tree = started.tree
        for _ in range(2):
            await tree.exited()
            await tree.wait_empty()
            assert await tree.signal_tree(TERM) == ()
            assert await tree.signal_tree(KILL) == ()
            assert await tree.kill_until_empty(1) == ()
        assert await tree.reap() == await tree.reap()
        await tree.exited()


async def check_a_member_that_outlives_the_leader_is_killed(trees: TreeStarter) -> None:
    async with trees.start("leaves") as started:
        tree = started.tree
        await tree.exited()
        assert not started.ended.is_set(), "the member holds the output"
        assert await tree.signal_tree(TERM) == started.members
        assert await tree.signal_tree(KILL) == started.members
        await tree.wait_empty()
        await started.ended.wait()
        assert await tree.kill_until_empty(5) == ()
        assert (await tree.reap()).code == 3


async def check_kill_until_empty_needs_no_signal_before(trees: TreeStarter) -> None:
    shapes: tuple[Shape, ...] = ("obeys", "ignores", "leaves", "forks")
    for shape in shapes:
        async with trees.start(shape) as started:
            assert await started.tree.kill_until_empty(5) == ()
            await started.ended.wait()


async def check_the_leader_is_listed_first(trees: TreeStarter) -> None:
    async with trees.start("forks") as started:
        tree = started.tree
        assert await tree.signal_tree(TERM) == (tree.pid, *started.members)
        await tree.wait_empty()
        assert await tree.kill_until_empty(5) == ()


async def check_members_are_the_living_processes(trees: TreeStarter) -> None:
    async with trees.start("forks") as started:
        tree = started.tree
        assert await tree.members() == (tree.pid, *started.members)
    async with trees.start("leaves") as started:
        tree = started.tree
        await tree.exited()
        assert await tree.members() == started.members, "the leader is a zombie"
        assert await tree.kill_until_empty(5) == ()
        assert await tree.members() == ()
        await tree.reap()
        assert await tree.members() == ()


async def check_members_may_be_called_while_the_tree_ends(trees: TreeStarter) -> None:
    async with trees.start("forks") as started, trio.open_nursery() as nursery:
        tree = started.tree

        async def ask() -> None:
            for _ in range(20):
                assert {tree.pid, *started.members}.issuperset(await tree.members())

        nursery.start_soon(ask)
        nursery.start_soon(ask)
        assert await tree.signal_tree(TERM) == (tree.pid, *started.members)
        await tree.wait_empty()
        assert await tree.kill_until_empty(5) == ()
        await tree.reap()


async def check_reap_waits_for_the_end(trees: TreeStarter) -> None:
    async with trees.start("obeys") as started:
        tree = started.tree
        with trio.CancelScope() as scope:
            scope.cancel()
            await tree.reap()
        assert scope.cancelled_caught
        await tree.signal_tree(KILL)
        assert (await tree.reap()).signal == 9


async def check_several_tasks_may_wait_for_the_exit(trees: TreeStarter) -> None:
    async with trees.start("obeys") as started, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(started.tree.exited)
        await wait_all_tasks_blocked()
        await started.tree.signal_tree(TERM)


async def check_pump_returns_at_once_after_the_end(trees: TreeStarter) -> None:
    async with trees.start("exits") as started:
        await started.ended.wait()
        printed = started.printed
        await started.tree.output.pump(started.log)
        assert started.printed == printed


async def check_pump_raises_after_aclose(trees: TreeStarter) -> None:
    async with trees.start("exits") as started:
        await started.ended.wait()
        await started.tree.output.aclose()
        await started.tree.output.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await started.tree.output.pump(started.log)


async def check_a_launch_without_marker_is_rejected(trees: TreeStarter) -> None:
    with pytest.raises(SpawnError, match="AF_TASK_TOKEN"):
        await trees.spawn(
            Launch(argv=("true",), cwd="/", environment={}, persistence=NO_PERSISTENCE)
        )


CHECKS: tuple[Callable[[TreeStarter], Awaitable[None]], ...] = (
    check_term_ends_a_tree_that_obeys,
    check_kill_ends_a_tree_that_ignores_term,
    check_exit_code_and_output_are_complete,
    check_calls_may_be_repeated_after_the_end,
    check_a_member_that_outlives_the_leader_is_killed,
    check_kill_until_empty_needs_no_signal_before,
    check_the_leader_is_listed_first,
    check_members_are_the_living_processes,
    check_members_may_be_called_while_the_tree_ends,
    check_reap_waits_for_the_end,
    check_several_tasks_may_wait_for_the_exit,
    check_pump_returns_at_once_after_the_end,
    check_pump_raises_after_aclose,
    check_a_launch_without_marker_is_rejected,
)

"""What every `Child` must do: the real one and the fake pass the same checks.

A `Stage` plays each shape of tree in its own way; the checks only know the seam.
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
from trio_afrender.process.interfaces import Launch, ProcessTree, Spawn, TreeSignal
from trio_afrender.tasklog.memory_log import MemoryLog

TERM, KILL = TreeSignal.TERM, TreeSignal.KILL
GUARD = 20
"""Seconds after which a check has failed; nothing waits for it."""

Shape: TypeAlias = Literal["obeys", "ignores", "exits", "leaves", "forks"]
"""`obeys` and `ignores` are about TERM; `exits` prints "hello" and ends with 3; `leaves` ends with
3 too, but leaves a member that ignores TERM and holds the output; `forks` lives with a member,
both obey."""


@attrs.frozen
class Played:
    """A tree that is up, and has printed all that it prints."""

    child: ProcessTree
    log: MemoryLog
    ended: trio.Event
    """Set when the output has ended."""

    @property
    def printed(self) -> bytes:
        return self.log.reader().read(0, 1 << 20).data

    @property
    def members(self) -> tuple[int, ...]:
        """Pids of the members beside the leader, which the tree has printed."""
        words = [line.split() for line in self.printed.splitlines()]
        return tuple(int(each[1]) for each in words if each[0] == b"member")


class Stage(Protocol):
    @property
    def spawn(self) -> Spawn: ...

    def play(self, shape: Shape) -> AbstractAsyncContextManager[Played]: ...


@asynccontextmanager
async def watch(child: ProcessTree, *, until: bytes = b"up\n") -> AsyncIterator[Played]:
    """Pump the output until it says `until`; in the end leave nothing of the tree."""
    played = Played(child, MemoryLog(), trio.Event())

    async def pump() -> None:
        await child.output.pump(played.log)
        played.ended.set()

    with trio.fail_after(GUARD):
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pump)
                while until not in played.printed:
                    await played.log.wait_beyond(played.log.size)
                yield played
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                assert await child.kill_until_empty(GUARD) == ()
                await child.reap()
                await child.output.aclose()


async def check_term_ends_a_polite_tree(stage: Stage) -> None:
    async with stage.play("obeys") as played:
        child = played.child
        assert await child.signal_tree(TERM) == (child.pid,)
        await child.exited()
        await child.wait_empty()
        await played.ended.wait()
        assert await child.kill_until_empty(1) == ()
        status = await child.reap()
        assert (status.code, status.signal, status.raw) == (None, 15, 15)
        assert str(status) == "signal 15"


async def check_kill_ends_what_ignores_term(stage: Stage) -> None:
    async with stage.play("ignores") as played:
        child = played.child
        assert await child.signal_tree(TERM) == (child.pid,)
        assert await child.signal_tree(KILL) == (child.pid,)
        await child.wait_empty()
        assert (await child.reap()).signal == 9


async def check_exit_code_and_output_arrive(stage: Stage) -> None:
    async with stage.play("exits") as played:
        await played.child.exited()
        await played.ended.wait()
        assert played.printed == b"hello\n"
        assert await played.child.signal_tree(KILL) == ()
        assert await played.child.kill_until_empty(1) == ()
        status = await played.child.reap()
        assert (status.code, status.signal, status.raw) == (3, None, 3 << 8)
        assert str(status) == "exit code 3"


async def check_the_end_stays_the_end(stage: Stage) -> None:
    async with stage.play("exits") as played:
        child = played.child
        for _ in range(2):
            await child.exited()
            await child.wait_empty()
            assert await child.signal_tree(TERM) == ()
            assert await child.signal_tree(KILL) == ()
            assert await child.kill_until_empty(1) == ()
        assert await child.reap() == await child.reap()
        await child.exited()


async def check_a_member_that_outlives_the_leader_is_killed(stage: Stage) -> None:
    async with stage.play("leaves") as played:
        child = played.child
        await child.exited()
        assert not played.ended.is_set(), "the member holds the output"
        assert await child.signal_tree(TERM) == played.members
        assert await child.signal_tree(KILL) == played.members
        await child.wait_empty()
        await played.ended.wait()
        assert await child.kill_until_empty(5) == ()
        assert (await child.reap()).code == 3


async def check_empty_alone_is_enough(stage: Stage) -> None:
    shapes: tuple[Shape, ...] = ("obeys", "ignores", "leaves", "forks")
    for shape in shapes:
        async with stage.play(shape) as played:
            assert await played.child.kill_until_empty(5) == ()
            await played.ended.wait()


async def check_the_leader_is_named_first(stage: Stage) -> None:
    async with stage.play("forks") as played:
        child = played.child
        assert await child.signal_tree(TERM) == (child.pid, *played.members)
        await child.wait_empty()
        assert await child.kill_until_empty(5) == ()


async def check_members_are_who_lives(stage: Stage) -> None:
    async with stage.play("forks") as played:
        child = played.child
        assert await child.members() == (child.pid, *played.members)
    async with stage.play("leaves") as played:
        child = played.child
        await child.exited()
        assert await child.members() == played.members, "the leader is a zombie"
        assert await child.kill_until_empty(5) == ()
        assert await child.members() == ()
        await child.reap()
        assert await child.members() == ()


async def check_members_may_be_asked_for_beside_the_end(stage: Stage) -> None:
    async with stage.play("forks") as played, trio.open_nursery() as nursery:
        child = played.child

        async def ask() -> None:
            for _ in range(20):
                assert {child.pid, *played.members}.issuperset(await child.members())

        nursery.start_soon(ask)
        nursery.start_soon(ask)
        assert await child.signal_tree(TERM) == (child.pid, *played.members)
        await child.wait_empty()
        assert await child.kill_until_empty(5) == ()
        await child.reap()


async def check_reap_waits_for_the_end(stage: Stage) -> None:
    async with stage.play("obeys") as played:
        child = played.child
        with trio.CancelScope() as scope:
            scope.cancel()
            await child.reap()
        assert scope.cancelled_caught
        await child.signal_tree(KILL)
        assert (await child.reap()).signal == 9


async def check_many_may_wait_for_the_exit(stage: Stage) -> None:
    async with stage.play("obeys") as played, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(played.child.exited)
        await wait_all_tasks_blocked()
        await played.child.signal_tree(TERM)


async def check_a_pump_at_the_end_says_so_again(stage: Stage) -> None:
    async with stage.play("exits") as played:
        await played.ended.wait()
        second = MemoryLog()
        await played.child.output.pump(second)
        assert second.size == 0


async def check_a_closed_pipe_says_so(stage: Stage) -> None:
    async with stage.play("exits") as played:
        await played.ended.wait()
        await played.child.output.aclose()
        await played.child.output.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await played.child.output.pump(MemoryLog())


async def check_a_launch_needs_its_marker(stage: Stage) -> None:
    with pytest.raises(SpawnError, match="AF_TASK_TOKEN"):
        await stage.spawn(Launch(argv=("true",), cwd="/", environment={}))


CHECKS: tuple[Callable[[Stage], Awaitable[None]], ...] = (
    check_term_ends_a_polite_tree,
    check_kill_ends_what_ignores_term,
    check_exit_code_and_output_arrive,
    check_the_end_stays_the_end,
    check_a_member_that_outlives_the_leader_is_killed,
    check_empty_alone_is_enough,
    check_the_leader_is_named_first,
    check_members_are_who_lives,
    check_members_may_be_asked_for_beside_the_end,
    check_reap_waits_for_the_end,
    check_many_may_wait_for_the_exit,
    check_a_pump_at_the_end_says_so_again,
    check_a_closed_pipe_says_so,
    check_a_launch_needs_its_marker,
)

"""Real trees that misbehave: escaped members are found, listed, and killed."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import attrs
import psutil
import pytest
import trio
from support.process import RealTrees, lives, make_program
from support.process_contract import CHECKS, GUARD, KILL, TERM, Shape, TreeStarter
from trio.testing import wait_all_tasks_blocked

from trio_afrender.process import procfs
from trio_afrender.process.exit_status import is_number_used
from trio_afrender.process.exit_watch import ThreadWatch, wait_gone
from trio_afrender.process.interfaces import ProcessTree
from trio_afrender.process.procfs import (
    ProcessFacts,
    kill_group,
    list_adopted,
    list_beside,
    read_facts,
    read_token,
    scan,
    send_signal,
)


@pytest.fixture
def trees() -> RealTrees:
    return RealTrees()


@pytest.mark.parametrize("words", ["setsid", "daemon"])
async def test_members_in_other_sessions_are_signalled_too(trees: RealTrees, words: str) -> None:
    async with trees.run(make_program("leave_orphans.py", words, "stay")) as started:
        pids = (started.tree.pid, *started.members)
        assert await started.tree.signal_tree(TERM) == pids
        await started.tree.exited()
        assert await started.tree.signal_tree(KILL) == started.members
        await started.tree.wait_empty()
        assert await started.tree.kill_until_empty(GUARD) == ()


@pytest.mark.parametrize("words", ["", "setsid", "daemon", "quiet", "quiet setsid", "quiet daemon"])
async def test_what_a_leader_leaves_behind_is_found(trees: RealTrees, words: str) -> None:
    async with trees.run(make_program("leave_orphans.py", *words.split())) as started:
        await started.tree.exited()
        assert await started.tree.signal_tree(KILL) == started.members
        await started.tree.wait_empty()
        assert await started.tree.kill_until_empty(GUARD) == ()


@pytest.mark.parametrize("words", ["", "stay", "setsid", "setsid stay"])
async def test_a_chain_of_forks_is_killed(trees: RealTrees, words: str) -> None:
    launch = make_program("fork_storm.py", *words.split())
    async with trees.run(launch) as started:
        assert await started.tree.kill_until_empty(GUARD) == ()
    token = launch.environment["AF_TASK_TOKEN"]
    for _ in range(3):  # a chain that still forks would be seen by one of the scans
        assert not [pid for pid in scan() if read_token(pid) == token]


async def test_a_stopped_member_gets_its_chance_to_end(trees: RealTrees) -> None:
    async with trees.run(make_program("stop_member.py")) as started:
        assert await started.tree.signal_tree(TERM) == (started.tree.pid, *started.members)
        await started.tree.exited()
        await started.tree.wait_empty()
        assert await started.tree.kill_until_empty(GUARD) == ()


async def test_zombies_that_are_not_reaped_do_not_count_as_members(trees: RealTrees) -> None:
    """A parent that never reaps its children keeps zombies: these are not alive."""
    async with trees.run(make_program("leave_zombie.py")) as started:
        assert await started.tree.signal_tree(TERM) == (started.tree.pid,)
        await started.tree.wait_empty()
        assert await started.tree.kill_until_empty(GUARD) == ()


async def test_the_neighbour_is_left_alone(trees: RealTrees) -> None:
    async with trees.start("forks") as neighbour, trees.start("leaves") as started:
        assert await started.tree.kill_until_empty(GUARD) == ()
        assert lives(neighbour.tree.pid)
        assert lives(neighbour.members[0])


async def test_what_outlives_the_deadline_is_named(trees: RealTrees) -> None:
    async with trees.start("forks") as started:
        assert await started.tree.kill_until_empty(0) == (started.tree.pid, *started.members)


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # 0 would break poll, too
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("shape", ["obeys", "leaves"])
async def test_blindness_is_not_emptiness(trees: RealTrees, shape: Shape) -> None:
    """Without a descriptor to look with, the group is signalled, and nothing is called empty."""
    async with trees.start(shape) as started:
        child = started.tree
        with no_descriptor_left():
            pids = await child.signal_tree(TERM)
            assert pids in {(), (child.pid,)}
            await child.exited()
            assert await child.kill_until_empty(0) != ()
            with trio.move_on_after(0) as scope:
                await child.wait_empty()
            assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            with no_descriptor_left():
                nursery.start_soon(child.wait_empty)
                nursery.start_soon(expect_empty, child)
                await wait_all_tasks_blocked()
        await started.ended.wait()


async def expect_empty(child: ProcessTree) -> None:
    assert await child.kill_until_empty(GUARD) == ()


@pytest.mark.parametrize("pauses", range(8))
async def test_every_wait_can_be_cancelled_and_repeated(trees: RealTrees, pauses: int) -> None:
    async def call(wait: Callable[[], Awaitable[object]]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, wait)
            for _ in range(pauses):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()

    async def run(wait: Callable[[], Awaitable[object]]) -> None:
        await wait()

    async with trees.start("leaves") as started:
        child = started.tree
        for _ in range(3):
            await call(child.exited)
            await call(child.wait_empty)
            await call(lambda: child.signal_tree(TERM))
            await call(lambda: child.signal_tree(KILL))
            await call(lambda: child.kill_until_empty(GUARD))
            await call(child.reap)
        assert await child.kill_until_empty(GUARD) == ()
        status = await child.reap()
        assert status.code == 3 or status.signal in {signal.SIGTERM, signal.SIGKILL}


async def test_a_status_taken_by_the_host_application_is_reported(trees: RealTrees) -> None:
    async with trees.start("obeys") as started:
        os.kill(started.tree.pid, signal.SIGKILL)
        await started.tree.exited()
        os.waitpid(started.tree.pid, 0)  # noqa: ASYNC222 - it has ended
        assert await started.tree.signal_tree(TERM) == ()
        assert await started.tree.kill_until_empty(GUARD) == ()
        status = await started.tree.reap()
        assert (status.code, status.signal, status.raw) == (None, None, -1)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_contract_without_pidfd(
    check: Callable[[TreeStarter], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels before 5.3, and sandboxes that do not know the call."""
    monkeypatch.setattr(procfs, "PIDFD", False)
    await check(RealTrees())


async def test_one_thread_waits_for_a_child_however_often_it_is_asked() -> None:
    process = await trio.lowlevel.open_process(["/bin/sleep", "1000"])
    watch = ThreadWatch(process.pid)
    for _ in range(20):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch.wait)
                await wait_all_tasks_blocked()
                scope.cancel()
    own = procfs.scan()[os.getpid()]
    assert own.alive
    process.kill()
    with trio.fail_after(GUARD):
        await watch.wait()
        await watch.wait()
    assert await process.wait() == -9, "it was not reaped"


def present(pid: int) -> ProcessFacts:
    facts = read_facts(pid)
    assert facts is not None
    return facts


async def test_a_pid_of_another_process_is_never_signalled(
    trees: RealTrees, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with trees.start("obeys") as started:
        facts = attrs.evolve(present(started.tree.pid), started=1.0)
        for pidfd in {procfs.PIDFD, False}:
            monkeypatch.setattr(procfs, "PIDFD", pidfd)
            assert not send_signal(facts, signal.SIGKILL)
            kill_group(facts)
            await wait_gone(facts)
        assert lives(started.tree.pid)


async def test_signals_to_the_dead_say_so() -> None:
    process = await trio.lowlevel.open_process(["/bin/sleep", "1000"])
    facts = present(process.pid)
    process.kill()
    await process.wait()
    assert not send_signal(facts, signal.SIGTERM)
    await wait_gone(facts)


async def test_our_own_group_is_never_killed() -> None:
    kill_group(present(os.getpid()))


async def test_a_number_is_used_until_group_and_session_are_gone(trees: RealTrees) -> None:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    try:
        async with trees.start("leaves") as started:
            pid = started.tree.pid
            await started.tree.exited()
            await started.tree.reap()
            assert is_number_used(descriptor, pid), "the member is in its group"
            assert is_number_used(None, pid), "without a descriptor it is unknown"
        # Init collects the member when it likes, so only a tree without members proves the end.
        async with trees.start("exits") as started:
            await started.tree.exited()
            assert is_number_used(descriptor, started.tree.pid), "a zombie"
            await started.tree.reap()
            assert not is_number_used(descriptor, started.tree.pid)
    finally:
        os.close(descriptor)


async def test_facts_and_tokens_of_real_processes(trees: RealTrees) -> None:
    launch = make_program("exit_on_term.py")
    # Larger than one read of it, and in front of the marker.
    padding = {"PADDING": "x" * 100_000}
    launch = attrs.evolve(launch, environment={**padding, **launch.environment})
    async with trees.run(launch) as started:
        facts = present(started.tree.pid)
        assert facts.group == facts.session == facts.pid == started.tree.pid
        assert facts.parent == os.getpid()
        assert scan()[facts.pid] == facts
        assert read_token(facts.pid) == launch.environment["AF_TASK_TOKEN"]
    assert read_facts(facts.pid) is None
    assert read_token(facts.pid) is None


async def test_psutil_sees_the_same(trees: RealTrees) -> None:
    """Where there is no /proc it answers in its place."""
    async with trees.start("obeys") as started:
        seen = procfs._ask_psutil(psutil.Process(started.tree.pid))
        assert seen is not None
        assert attrs.evolve(seen, started=0) == attrs.evolve(present(started.tree.pid), started=0)


async def test_children_are_listed_where_orphans_go() -> None:
    assert os.getpid() in list_beside()
    with subprocess.Popen(["/bin/sleep", "1000"]) as own:  # noqa: ASYNC220 - by this very thread
        assert own.pid in list_adopted()
        own.kill()

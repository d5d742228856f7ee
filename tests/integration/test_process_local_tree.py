"""Real trees that misbehave: whoever runs away is found, named, and ended."""

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
from support.process import RealStage, lives, make_program
from support.process_contract import CHECKS, GUARD, KILL, TERM, Shape, Stage
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
def stage() -> RealStage:
    return RealStage()


@pytest.mark.parametrize("words", ["setsid", "daemon"])
async def test_members_in_other_sessions_are_signalled_too(stage: RealStage, words: str) -> None:
    async with stage.run(make_program("leave_orphans.py", words, "stay")) as played:
        pids = (played.child.pid, *played.members)
        assert await played.child.signal_tree(TERM) == pids
        await played.child.exited()
        assert await played.child.signal_tree(KILL) == played.members
        await played.child.wait_empty()
        assert await played.child.kill_until_empty(GUARD) == ()


@pytest.mark.parametrize("words", ["", "setsid", "daemon", "quiet", "quiet setsid", "quiet daemon"])
async def test_what_a_leader_leaves_behind_is_found(stage: RealStage, words: str) -> None:
    async with stage.run(make_program("leave_orphans.py", *words.split())) as played:
        await played.child.exited()
        assert await played.child.signal_tree(KILL) == played.members
        await played.child.wait_empty()
        assert await played.child.kill_until_empty(GUARD) == ()


@pytest.mark.parametrize("words", ["", "stay", "setsid", "setsid stay"])
async def test_a_chain_of_forks_is_broken(stage: RealStage, words: str) -> None:
    launch = make_program("fork_storm.py", *words.split())
    async with stage.run(launch) as played:
        assert await played.child.kill_until_empty(GUARD) == ()
    token = launch.environment["AF_TASK_TOKEN"]
    for _ in range(3):  # whoever goes on forking would be seen by one of the looks
        assert not [pid for pid in scan() if read_token(pid) == token]


async def test_a_stopped_member_gets_its_chance_to_end(stage: RealStage) -> None:
    async with stage.run(make_program("stop_member.py")) as played:
        assert await played.child.signal_tree(TERM) == (played.child.pid, *played.members)
        await played.child.exited()
        await played.child.wait_empty()
        assert await played.child.kill_until_empty(GUARD) == ()


async def test_members_that_died_unburied_hold_nothing_up(stage: RealStage) -> None:
    """A parent that never asks for its children keeps zombies: they are nobody alive."""
    async with stage.run(make_program("leave_zombie.py")) as played:
        assert await played.child.signal_tree(TERM) == (played.child.pid,)
        await played.child.wait_empty()
        assert await played.child.kill_until_empty(GUARD) == ()


async def test_the_neighbour_is_left_alone(stage: RealStage) -> None:
    async with stage.play("forks") as neighbour, stage.play("leaves") as played:
        assert await played.child.kill_until_empty(GUARD) == ()
        assert lives(neighbour.child.pid)
        assert lives(neighbour.members[0])


async def test_what_outlives_the_deadline_is_named(stage: RealStage) -> None:
    async with stage.play("forks") as played:
        assert await played.child.kill_until_empty(0) == (played.child.pid, *played.members)


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # 0 would break poll, too
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("shape", ["obeys", "leaves"])
async def test_blindness_is_not_emptiness(stage: RealStage, shape: Shape) -> None:
    """Without a descriptor to look with, the group is signalled, and nothing is called empty."""
    async with stage.play(shape) as played:
        child = played.child
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
        await played.ended.wait()


async def expect_empty(child: ProcessTree) -> None:
    assert await child.kill_until_empty(GUARD) == ()


@pytest.mark.parametrize("pauses", range(8))
async def test_every_wait_can_be_cancelled_and_repeated(stage: RealStage, pauses: int) -> None:
    async def call(wait: Callable[[], Awaitable[object]]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, wait)
            for _ in range(pauses):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()

    async def run(wait: Callable[[], Awaitable[object]]) -> None:
        await wait()

    async with stage.play("leaves") as played:
        child = played.child
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


async def test_a_status_taken_by_the_host_application_is_said_so(stage: RealStage) -> None:
    async with stage.play("obeys") as played:
        os.kill(played.child.pid, signal.SIGKILL)
        await played.child.exited()
        os.waitpid(played.child.pid, 0)  # noqa: ASYNC222 - it has ended
        assert await played.child.signal_tree(TERM) == ()
        assert await played.child.kill_until_empty(GUARD) == ()
        status = await played.child.reap()
        assert (status.code, status.signal, status.raw) == (None, None, -1)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_contract_without_pidfd(
    check: Callable[[Stage], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels before 5.3, and sandboxes that do not know the call."""
    monkeypatch.setattr(procfs, "PIDFD", False)
    await check(RealStage())


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


async def test_a_pid_that_passed_to_a_stranger_is_never_signalled(
    stage: RealStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage.play("obeys") as played:
        facts = attrs.evolve(present(played.child.pid), started=1.0)
        for pidfd in {procfs.PIDFD, False}:
            monkeypatch.setattr(procfs, "PIDFD", pidfd)
            assert not send_signal(facts, signal.SIGKILL)
            kill_group(facts)
            await wait_gone(facts)
        assert lives(played.child.pid)


async def test_signals_to_the_dead_say_so() -> None:
    process = await trio.lowlevel.open_process(["/bin/sleep", "1000"])
    facts = present(process.pid)
    process.kill()
    await process.wait()
    assert not send_signal(facts, signal.SIGTERM)
    await wait_gone(facts)


async def test_our_own_group_is_never_killed() -> None:
    kill_group(present(os.getpid()))


async def test_a_number_is_used_until_group_and_session_are_gone(stage: RealStage) -> None:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    try:
        async with stage.play("leaves") as played:
            pid = played.child.pid
            await played.child.exited()
            await played.child.reap()
            assert is_number_used(descriptor, pid), "the member is in its group"
            assert is_number_used(None, pid), "without a descriptor nobody can tell"
        # Init collects the member when it likes, so only a tree without members proves the end.
        async with stage.play("exits") as played:
            await played.child.exited()
            assert is_number_used(descriptor, played.child.pid), "a zombie"
            await played.child.reap()
            assert not is_number_used(descriptor, played.child.pid)
    finally:
        os.close(descriptor)


async def test_facts_and_tokens_of_real_processes(stage: RealStage) -> None:
    launch = make_program("exit_on_term.py")
    # Larger than one read of it, and in front of the marker.
    padding = {"PADDING": "x" * 100_000}
    launch = attrs.evolve(launch, environment={**padding, **launch.environment})
    async with stage.run(launch) as played:
        facts = present(played.child.pid)
        assert facts.group == facts.session == facts.pid == played.child.pid
        assert facts.parent == os.getpid()
        assert scan()[facts.pid] == facts
        assert read_token(facts.pid) == launch.environment["AF_TASK_TOKEN"]
    assert read_facts(facts.pid) is None
    assert read_token(facts.pid) is None


async def test_psutil_sees_the_same(stage: RealStage) -> None:
    """Where there is no /proc it answers in its place."""
    async with stage.play("obeys") as played:
        seen = procfs._ask_psutil(psutil.Process(played.child.pid))
        assert seen is not None
        assert attrs.evolve(seen, started=0) == attrs.evolve(present(played.child.pid), started=0)


async def test_children_are_listed_where_orphans_go() -> None:
    assert os.getpid() in list_beside()
    with subprocess.Popen(["/bin/sleep", "1000"]) as own:  # noqa: ASYNC220 - by this very thread
        assert own.pid in list_adopted()
        own.kill()

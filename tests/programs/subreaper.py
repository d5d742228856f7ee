"""Runs one scenario in a process that adopts orphans; prints "ok" when it held.

Usage: subreaper.py SCENARIO [--embedded], which plays an agent that does not know what its process is:
so it is for one in a host application that is init of a container.
"""

# ruff: noqa: T201 - what it prints is what tests wait for

import os
import shutil
import sys
import tempfile
from pathlib import Path

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.process import RealStage, lives, make_program, make_shell
from support.process_contract import CHECKS, GUARD, KILL, TERM, watch

from trio_afrender.process.interfaces import ProcessTree
from trio_afrender.process.local_spawn import become_subreaper
from trio_afrender.process.orphans import Orphans
from trio_afrender.process.procfs import list_adopted, read_facts


async def contract(stage: RealStage) -> None:
    for check in CHECKS:
        await check(stage)


async def left(stage: RealStage, *words: str) -> None:
    """A leader ends by itself and leaves a daemon: KILL names it, then it is gone and buried."""
    async with stage.run(make_program("leave_orphans.py", *words)) as played:
        await played.child.exited()
        assert await played.child.signal_tree(TERM) == played.members
        assert await played.child.signal_tree(KILL) == played.members
        await played.child.wait_empty()
        assert await played.child.kill_until_empty(GUARD) == ()


async def living(stage: RealStage) -> None:
    """Leader and daemon are found together while both live."""
    async with stage.run(make_program("leave_orphans.py", "daemon", "stay")) as played:
        pids = (played.child.pid, *played.members)
        assert await played.child.signal_tree(TERM) == pids
        await played.child.exited()
        assert await played.child.signal_tree(KILL) == played.members
        assert await played.child.kill_until_empty(GUARD) == ()


async def storm(stage: RealStage, *words: str) -> None:
    async with stage.run(make_program("fork_storm.py", *words)) as played:
        assert await played.child.kill_until_empty(GUARD) == ()


async def neighbours(stage: RealStage) -> None:
    """Two tasks with a daemon each: what ends one does not touch the other."""
    daemon = make_program("leave_orphans.py", "daemon")
    other = make_program("leave_orphans.py", "daemon")
    async with stage.run(daemon) as played, stage.run(other) as neighbour:
        await played.child.exited()
        await neighbour.child.exited()
        assert await played.child.signal_tree(KILL) == played.members
        assert await played.child.kill_until_empty(GUARD) == ()
        assert lives(neighbour.members[0])
        assert neighbour.members[0] in list_adopted()
        assert await neighbour.child.signal_tree(KILL) == neighbour.members


async def foreign(stage: RealStage) -> None:
    """A child of another part of the program is neither killed nor robbed of its status."""
    sleeper = await trio.lowlevel.open_process(["/bin/sleep", "1000"])
    ended = await trio.lowlevel.open_process(["/bin/sh", "-c", "exit 7"])
    async with stage.run(make_program("leave_orphans.py", "daemon")) as played:
        await played.child.exited()
        assert await played.child.signal_tree(KILL) == played.members
        assert await played.child.kill_until_empty(GUARD) == ()
    assert sleeper.poll() is None
    sleeper.kill()
    assert await sleeper.wait() == -9
    assert await ended.wait() == 7


async def bare(stage: RealStage) -> None:
    """An orphan without an environment is known by the pipe that it holds."""
    script = "(exec env -i setsid sh -c 'echo member $$; echo up; exec sleep 100' >&1 &)"
    first = await stage.spawn(make_shell(script))
    other = await stage.spawn(make_shell("exec sleep 1000"))
    async with watch(first) as played:
        await played.child.exited()
        assert await played.child.signal_tree(KILL) == tuple(played.members)
        assert await played.child.kill_until_empty(10) == ()
    await end(other)


async def bare_quiet(stage: RealStage) -> None:
    """One that holds no pipe either belongs to the only tree that can have started it; if there
    are two, it ends with the last of them."""
    early = await stage.spawn(make_shell("exec sleep 1000"))
    gate = f"{tempfile.mkdtemp()}/gate"
    os.mkfifo(gate)
    hidden = f"exec >{gate} 2>&1; echo \\$\\$; exec sleep 100"
    child = await stage.spawn(make_shell(f'(exec env -i setsid sh -c "{hidden}" >&1 &)'))
    reader = os.open(gate, os.O_RDWR | os.O_NONBLOCK)
    await trio.lowlevel.wait_readable(reader)
    member = int(os.read(reader, 20))
    os.close(reader)
    shutil.rmtree(Path(gate).parent)
    late = await stage.spawn(make_shell("exec sleep 1000"))
    await child.exited()  # until then the way from it to its member can be seen
    await end(child)
    assert member in list_adopted(), "two trees were there when it came: whose it is nobody knows"
    await end(late)
    assert member in list_adopted(), "this one came later: it cannot be its"
    await end(early)
    assert member not in list_adopted()


async def end(child: ProcessTree) -> None:
    await child.signal_tree(KILL)
    assert await child.kill_until_empty(10) == ()
    await child.reap()
    await child.output.aclose()


async def long(stage: RealStage) -> None:
    """A long task wakes now and then to bury what others left, and goes on waiting."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, MockClock)
    child = await stage.spawn(make_shell("exec sleep 1000"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(child.exited)
        for _ in range(3):
            await wait_all_tasks_blocked()
            clock.jump(31)
        assert len(nursery.child_tasks) == 1
        assert await child.signal_tree(KILL) == (child.pid,)
    await child.reap()
    await child.output.aclose()


async def unclaimed(stage: RealStage) -> None:
    """A zombie of no task is buried after ten seconds, not before: its owner may be slow."""
    await trio.run_process(["/bin/sh", "-c", "(exec sleep 0 &)"])
    await wait_for_zombie()
    async with stage.run(make_shell("echo up")) as played:
        await played.child.exited()
    times = iter((100.0, 100.0, 109.0, 109.0, 111.0, 111.0))
    orphans = Orphans(list_adopted, clock=lambda: next(times))
    for buried in (False, False, True):
        orphans.reap_unclaimed()
        assert (list_adopted() == []) is buried


async def wait_for_zombie() -> None:
    while any(facts.alive for facts in map(read_facts, list_adopted()) if facts):
        await trio.lowlevel.checkpoint()
    assert len(list_adopted()) == 1


def main() -> None:
    name, *words = sys.argv[1:]
    assert become_subreaper()
    embedded = "--embedded" in words
    words = [word for word in words if word != "--embedded"]
    scenario = {
        each.__name__: each
        for each in (
            contract,
            left,
            living,
            storm,
            neighbours,
            foreign,
            bare,
            bare_quiet,
            long,
            unclaimed,
        )
    }[name]

    async def run() -> None:
        await scenario(RealStage(subreaper=not embedded), *words)

    trio.run(run, clock=MockClock() if name == "long" else None)
    try:
        print("left behind:", os.waitpid(-1, os.WNOHANG))
    except ChildProcessError:
        print("ok")


main()

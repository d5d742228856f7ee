"""Runs one scenario in a process that adopts orphans; prints "ok" when it passed.

Usage: ``subreaper.py SCENARIO [--embedded]``. With --embedded the agent does not know that its process
is a subreaper, as in an application that is init of a container.
"""

# ruff: noqa: T201 - tests wait for what it prints

import os
import shutil
import sys
import tempfile
from pathlib import Path

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.process import RealTrees, lives, make_program, make_shell
from support.process_contract import CHECKS, GUARD, KILL, TERM, watch

from trio_afrender.process.interfaces import ProcessTree
from trio_afrender.process.local_spawn import become_subreaper
from trio_afrender.process.orphans import Orphans
from trio_afrender.process.procfs import list_adopted, read_facts


async def contract(trees: RealTrees) -> None:
    for check in CHECKS:
        await check(trees)


async def left(trees: RealTrees, *words: str) -> None:
    """A leader ends by itself and leaves a daemon: KILL lists it, then it is reaped."""
    async with trees.run(make_program("leave_orphans.py", *words)) as started:
        await started.tree.exited()
        assert await started.tree.signal_tree(TERM) == started.members
        assert await started.tree.signal_tree(KILL) == started.members
        await started.tree.wait_empty()
        assert await started.tree.kill_until_empty(GUARD) == ()


async def living(trees: RealTrees) -> None:
    """Leader and daemon are found together while both live."""
    async with trees.run(make_program("leave_orphans.py", "daemon", "stay")) as started:
        pids = (started.tree.pid, *started.members)
        assert await started.tree.signal_tree(TERM) == pids
        await started.tree.exited()
        assert await started.tree.signal_tree(KILL) == started.members
        assert await started.tree.kill_until_empty(GUARD) == ()


async def storm(trees: RealTrees, *words: str) -> None:
    async with trees.run(make_program("fork_storm.py", *words)) as started:
        assert await started.tree.kill_until_empty(GUARD) == ()


async def neighbours(trees: RealTrees) -> None:
    """Two tasks with a daemon each: what ends one does not touch the other."""
    daemon = make_program("leave_orphans.py", "daemon")
    other = make_program("leave_orphans.py", "daemon")
    async with trees.run(daemon) as started, trees.run(other) as neighbour:
        await started.tree.exited()
        await neighbour.tree.exited()
        assert await started.tree.signal_tree(KILL) == started.members
        assert await started.tree.kill_until_empty(GUARD) == ()
        assert lives(neighbour.members[0])
        assert neighbour.members[0] in list_adopted()
        assert await neighbour.tree.signal_tree(KILL) == neighbour.members


async def foreign(trees: RealTrees) -> None:
    """A child of another part of the program is neither killed nor robbed of its status."""
    sleeper = await trio.lowlevel.open_process(["/bin/sleep", "1000"])
    ended = await trio.lowlevel.open_process(["/bin/sh", "-c", "exit 7"])
    async with trees.run(make_program("leave_orphans.py", "daemon")) as started:
        await started.tree.exited()
        assert await started.tree.signal_tree(KILL) == started.members
        assert await started.tree.kill_until_empty(GUARD) == ()
    assert sleeper.poll() is None
    sleeper.kill()
    assert await sleeper.wait() == -9
    assert await ended.wait() == 7


async def bare(trees: RealTrees) -> None:
    """An orphan without an environment is known by the pipe that it holds."""
    script = "(exec env -i setsid sh -c 'echo member $$; echo up; exec sleep 100' >&1 &)"
    first = await trees.spawn(make_shell(script))
    other = await trees.spawn(make_shell("exec sleep 1000"))
    async with watch(first) as started:
        await started.tree.exited()
        assert await started.tree.signal_tree(KILL) == tuple(started.members)
        assert await started.tree.kill_until_empty(10) == ()
    await end(other)


async def bare_quiet(trees: RealTrees) -> None:
    """One that holds no pipe either belongs to the only tree that can have started it; if there
    are two, it ends with the last of them."""
    early = await trees.spawn(make_shell("exec sleep 1000"))
    gate = f"{tempfile.mkdtemp()}/gate"
    os.mkfifo(gate)
    hidden = f"exec >{gate} 2>&1; echo \\$\\$; exec sleep 100"
    child = await trees.spawn(make_shell(f'(exec env -i setsid sh -c "{hidden}" >&1 &)'))
    reader = os.open(gate, os.O_RDWR | os.O_NONBLOCK)
    await trio.lowlevel.wait_readable(reader)
    member = int(os.read(reader, 20))
    os.close(reader)
    shutil.rmtree(Path(gate).parent)
    late = await trees.spawn(make_shell("exec sleep 1000"))
    await child.exited()  # until then the way from it to its member can be seen
    await end(child)
    assert member in list_adopted(), "two trees were there when it came: it may belong to either"
    await end(late)
    assert member in list_adopted(), "this one came later: it cannot be its"
    await end(early)
    assert member not in list_adopted()


async def end(child: ProcessTree) -> None:
    await child.signal_tree(KILL)
    assert await child.kill_until_empty(10) == ()
    await child.reap()
    await child.output.aclose()


async def long(trees: RealTrees) -> None:
    """A long task reaps what others left every now and then, and continues to wait."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, MockClock)
    child = await trees.spawn(make_shell("exec sleep 1000"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(child.exited)
        for _ in range(3):
            await wait_all_tasks_blocked()
            clock.jump(31)
        assert len(nursery.child_tasks) == 1
        assert await child.signal_tree(KILL) == (child.pid,)
    await child.reap()
    await child.output.aclose()


async def unclaimed(trees: RealTrees) -> None:
    """A zombie of no task is reaped after ten seconds, not before: its owner may be slow."""
    await trio.run_process(["/bin/sh", "-c", "(exec sleep 0 &)"])
    await wait_for_zombie()
    async with trees.run(make_shell("echo up")) as started:
        await started.tree.exited()
    times = iter((100.0, 100.0, 109.0, 109.0, 111.0, 111.0))
    orphans = Orphans(list_adopted, clock=lambda: next(times))
    for reaped in (False, False, True):
        orphans.reap_unclaimed()
        assert (list_adopted() == []) is reaped


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
        await scenario(RealTrees(subreaper=not embedded), *words)

    trio.run(run, clock=MockClock() if name == "long" else None)
    try:
        print("left behind:", os.waitpid(-1, os.WNOHANG))
    except ChildProcessError:
        print("ok")


main()

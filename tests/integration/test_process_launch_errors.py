"""Starts of real trees: environment, errors, and that no path leaks a process or a descriptor."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import psutil
import pytest
import trio
from support.polling import until
from support.process import (
    RealTrees,
    make_launch,
    make_program,
    make_shell,
    open_descriptors,
    open_trees,
)
from support.process_contract import GUARD
from trio.testing import wait_all_tasks_blocked

from trio_afrender.errors import SpawnError
from trio_afrender.process.interfaces import Launch, ProcessTree
from trio_afrender.process.procfs import read_token, scan
from trio_afrender.tasklog import io_threads
from trio_afrender.tasklog.supervised_log import SupervisedLog


def own_children() -> set[int]:
    return {each.pid for each in psutil.Process().children()}


@contextmanager
def nothing_leaks() -> Iterator[None]:
    before = open_descriptors()
    children = own_children()
    yield
    assert own_children() <= children
    assert open_descriptors() <= before


@pytest.fixture
async def trees(tmp_path: Path) -> AsyncIterator[RealTrees]:
    async with open_trees(tmp_path) as opened:
        yield opened


async def run(trees: RealTrees, launch: Launch) -> bytes:
    """Run `launch` to its end and return what it printed."""
    launch = trees.place(launch)
    tree = await trees.spawn(launch)
    log = SupervisedLog(Path(launch.persistence.log))
    with trio.fail_after(GUARD):
        await tree.output.pump(log)
        await tree.exited()
        assert await tree.kill_until_empty(GUARD) == ()
        await tree.reap()
        await tree.output.aclose()
    return log.reader().read(0, 1 << 24).data


async def run_for_json(trees: RealTrees, launch: Launch) -> dict[str, Any]:
    printed: dict[str, Any] = json.loads(await run(trees, launch))
    return printed


async def test_a_task_gets_its_environment_and_nothing_else(
    tmp_path: Path, trees: RealTrees
) -> None:
    launch = attrs.evolve(make_program("print_environment.py"), cwd=str(tmp_path))
    seen = await run_for_json(trees, launch)
    # A C library may add a variable of its own to a program that it starts.
    added = seen["environment"].keys() - launch.environment.keys()
    assert added <= {"LC_CTYPE"}
    assert launch.environment.items() <= seen["environment"].items()
    assert seen["folder"] == str(tmp_path)
    assert seen["session"] is True
    assert seen["stdin"] == ""
    # stdin, stdout, stderr, the two ends of the program's own pipe, and the listing.
    assert len(seen["descriptors"]) == 3 + 2 + 1
    assert seen["nice"] == os.getpriority(os.PRIO_PROCESS, 0)


async def test_the_whole_tree_inherits_the_priority(trees: RealTrees) -> None:
    seen = await run_for_json(trees, attrs.evolve(make_program("print_environment.py"), nice=7))
    assert seen["nice"] == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 7)


async def test_both_outputs_keep_their_order(trees: RealTrees) -> None:
    printed = await run(trees, make_program("interleaved_output.py"))
    assert printed == b"".join(b"line %d\n" % number for number in range(4000))


async def test_a_cancelled_pump_loses_nothing(trees: RealTrees) -> None:
    launch = trees.place(make_shell("seq 100000"))
    tree, log = await trees.spawn(launch), SupervisedLog(Path(launch.persistence.log))
    rounds = 0
    with trio.fail_after(GUARD):
        while rounds < 200:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(tree.output.pump, log)
                for _ in range(rounds % 4):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            rounds += 1
        await tree.output.pump(log)
        await tree.kill_until_empty(GUARD)
        await tree.reap()
        await tree.output.aclose()
    assert log.reader().read(0, 1 << 24).data == b"".join(b"%d\n" % n for n in range(1, 100_001))


async def test_aclose_ends_a_waiting_pump(trees: RealTrees) -> None:
    with nothing_leaks():
        launch = trees.place(make_program("ignore_term.py"))
        tree, log = await trees.spawn(launch), SupervisedLog(Path(launch.persistence.log))
        with pytest.RaisesGroup(trio.ClosedResourceError):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(tree.output.pump, log)
                await log.wait_beyond(2)
                await wait_all_tasks_blocked()
                await tree.output.aclose()
        assert await tree.kill_until_empty(GUARD) == ()
        await tree.reap()


BAD: dict[str, tuple[Launch, str]] = {
    "no program": (make_launch("no-such-shell"), 'there is no program "no-such-shell"'),
    "no path": (make_launch("/no/such/shell"), 'there is no program "/no/such/shell"'),
    "no folder": (make_launch("/bin/sh", cwd="/no/such"), 'folder "/no/such" does not exist'),
    "a file": (make_launch("/bin/sh", cwd="/etc/passwd"), '"/etc/passwd" is not a folder'),
    "not executable": (make_launch("/etc/passwd"), '"/etc/passwd" may not be executed'),
    "a folder": (make_launch("/etc"), '"/etc"'),
    "too long": (make_launch("/bin/sh", "-c", "x" * 3_000_000), "bytes of command"),
    "null byte": (make_launch("/bin/sh", "-c", "a\0b"), "embedded null byte"),
    "nothing": (make_launch(), "the command is empty"),
    "empty": (make_launch(""), "the command is empty"),
    "bad name": (
        attrs.evolve(make_launch("true"), environment={"AF_TASK_TOKEN": "t", "A=B": "c"}),
        "illegal environment variable name",
    ),
    "bad text": (make_launch("/bin/sh", "-c", "\ud800"), "surrogates not allowed"),
}


@pytest.mark.parametrize("nice", [0, 5])
@pytest.mark.parametrize("case", BAD)
async def test_a_failed_start_is_explained_in_one_sentence(
    case: str, nice: int, trees: RealTrees
) -> None:
    launch, sentence = BAD[case]
    with nothing_leaks():
        with pytest.raises(SpawnError) as caught:
            await trees.spawn(attrs.evolve(launch, nice=nice))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_file_that_is_not_a_program(tmp_path: Path, trees: RealTrees) -> None:
    program = tmp_path / "render"
    program.write_bytes(b"\x7fELF\1\1\1" + b"\0" * 200)
    program.chmod(0o755)
    with pytest.raises(SpawnError, match="is not a program for this system"):
        await trees.spawn(make_launch(str(program)))


@pytest.mark.parametrize("nice", [0, 3])
async def test_a_relative_program_is_searched_in_the_working_folder(
    tmp_path: Path, nice: int, trees: RealTrees
) -> None:
    program = tmp_path / "render"
    program.write_text("#!/bin/sh\necho here\n")
    program.chmod(0o755)
    launch = make_launch("./render", cwd=str(tmp_path), nice=nice)
    assert await run(trees, launch) == b"here\n"


async def test_a_hundred_trees_leave_no_descriptor(trees: RealTrees) -> None:
    await run(trees, make_shell("true"))  # opens what stays open
    with nothing_leaks():
        for _ in range(100):
            await run(trees, make_shell("true"))


def find_marked(token: str) -> set[int]:
    """The pids of the living processes with that marker."""
    return {pid for pid, facts in scan().items() if facts.alive and read_token(pid) == token}


async def until_marked(token: str, pids: set[int]) -> None:
    """Wait until the living processes with that marker are `pids`."""
    await until(lambda: find_marked(token) == pids)


@pytest.mark.parametrize("nice", [0, 1])
async def test_a_cancelled_spawn_leaves_nothing(nice: int, trees: RealTrees) -> None:
    """Cancelled at any moment, a tree is returned or nothing was started."""
    launch = attrs.evolve(make_shell("exec sleep 1000"), nice=nice)
    returned: list[ProcessTree] = []

    async def start() -> None:
        returned.append(await trees.spawn(launch))

    with nothing_leaks(), trio.fail_after(GUARD):
        for pauses in range(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(start)
                for _ in range(pauses):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            token = launch.environment["AF_TASK_TOKEN"]
            expected = {tree.pid for tree in returned}
            # A tree whose start was cancelled is killed by its task supervisor.
            await until_marked(token, expected)
            while returned:
                tree = returned.pop()
                assert await tree.kill_until_empty(GUARD) == ()
                await tree.reap()
                await tree.output.aclose()


def fill_gaps() -> list[int]:
    """Open files until no number below the highest descriptor is free, and one more."""
    last, *_ = max(open_descriptors())
    opened = [os.open(os.devnull, os.O_RDONLY)]
    while opened[-1] <= last:
        opened.append(os.open(os.devnull, os.O_RDONLY))
    return opened


async def test_a_spawn_without_descriptors_fails_and_leaves_nothing(
    trees: RealTrees, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With each descriptor less it fails at an earlier point."""
    # It is tried again for 4 s each time, and how many fail depends on the interpreter.
    monkeypatch.setattr(io_threads, "PAUSES", (0.0,))
    launch = make_shell("exec sleep 1000")
    await run(trees, make_shell("true"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    failed = 0
    with nothing_leaks(), trio.fail_after(GUARD):
        others = own_children()
        ballast = fill_gaps()
        used = max(ballast)
        for spare in range(12):
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + spare, hard))
            tree: ProcessTree | None = None
            try:
                tree = await trees.spawn(launch)
            except SpawnError as error:
                failed += 1
                assert "too many open files" in str(error)  # noqa: PT017 - the loop continues
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            if tree is not None:
                assert await tree.kill_until_empty(GUARD) == ()
                await tree.reap()
                await tree.output.aclose()
            assert own_children() <= others
        for descriptor in ballast:
            os.close(descriptor)
    assert 3 <= failed < 12

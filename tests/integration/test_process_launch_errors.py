"""How real trees start: surroundings, errors, and that nothing leaks on any way."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import psutil
import pytest
import trio
from support.process import RealStage, make_launch, make_program, make_shell
from support.process_contract import GUARD
from trio.testing import wait_all_tasks_blocked

from trio_afrender.errors import SpawnError
from trio_afrender.process import launch_errors
from trio_afrender.process.exit_watch import ExitWatch
from trio_afrender.process.interfaces import Launch, ProcessTree
from trio_afrender.process.local_spawn import make_spawn
from trio_afrender.tasklog.memory_log import MemoryLog


def open_descriptors() -> dict[int, str]:
    found = {}
    for path in Path("/proc/self/fd").iterdir():
        if path.is_symlink():  # the one of this very listing is gone by now
            found[int(path.name)] = str(path.readlink())
    return found


def own_children() -> set[int]:
    return {each.pid for each in psutil.Process().children()}


@contextmanager
def nothing_leaks() -> Iterator[None]:
    before = len(open_descriptors())
    children = own_children()
    yield
    assert own_children() <= children
    assert len(open_descriptors()) == before


async def run(launch: Launch) -> bytes:
    """Run `launch` to its end and return what it printed."""
    child = await make_spawn()(launch)
    log = MemoryLog()
    with trio.fail_after(GUARD):
        await child.output.pump(log)
        await child.exited()
        assert await child.kill_until_empty(GUARD) == ()
        await child.reap()
        await child.output.aclose()
    return log.reader().read(0, 1 << 24).data


async def show(launch: Launch) -> dict[str, Any]:
    seen: dict[str, Any] = json.loads(await run(launch))
    return seen


async def test_a_child_gets_exactly_its_surroundings(tmp_path: Path) -> None:
    launch = attrs.evolve(make_program("print_environment.py"), cwd=str(tmp_path))
    seen = await show(launch)
    # A C library may add a variable of its own to a program that it starts.
    added = seen["environment"].keys() - launch.environment.keys()
    assert added <= {"LC_CTYPE"}
    assert launch.environment.items() <= seen["environment"].items()
    assert seen["folder"] == str(tmp_path)
    assert seen["session"] is True
    assert seen["stdin"] == ""
    # Its three, the pipe of its own, and the listing.
    assert len(seen["descriptors"]) == 3 + 2 + 1
    assert seen["nice"] == os.getpriority(os.PRIO_PROCESS, 0)


async def test_the_whole_tree_inherits_the_priority() -> None:
    seen = await show(attrs.evolve(make_program("print_environment.py"), nice=7))
    assert seen["nice"] == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 7)


async def test_both_outputs_keep_their_order() -> None:
    printed = await run(make_program("interleaved_output.py"))
    assert printed == b"".join(b"line %d\n" % number for number in range(4000))


async def test_a_renderer_may_print_ahead_of_us() -> None:
    child = await make_spawn()(make_shell("head -c 60000 /dev/zero; head -c 900000 /dev/zero"))
    reader = max(fd for fd, name in open_descriptors().items() if name.startswith("pipe:"))
    capacity = fcntl.fcntl(reader, fcntl.F_GETPIPE_SZ)
    with trio.fail_after(GUARD):
        if capacity >= 1 << 20:  # else the kernel refused: this user has too many large pipes
            await child.exited()
        log = MemoryLog()
        await child.output.pump(log)
        assert log.size == 960_000
        assert await child.kill_until_empty(GUARD) == ()
        assert (await child.reap()).code == 0
        await child.output.aclose()


async def test_a_cancelled_pump_loses_nothing() -> None:
    child = await make_spawn()(make_shell("seq 100000"))
    log = MemoryLog()
    rounds = 0
    with trio.fail_after(GUARD):
        while rounds < 200:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(child.output.pump, log)
                for _ in range(rounds % 4):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            rounds += 1
        await child.output.pump(log)
        await child.kill_until_empty(GUARD)
        await child.reap()
        await child.output.aclose()
    assert log.reader().read(0, 1 << 24).data == b"".join(b"%d\n" % n for n in range(1, 100_001))


class SlowLog(MemoryLog):
    """Holds a fill until it is let go, as a stuck disk does."""

    def __init__(self) -> None:
        super().__init__()
        self.filling = trio.Event()
        self.go = trio.Event()

    async def fill_from(self, fd: int) -> int:
        self.filling.set()
        await self.go.wait()
        return await super().fill_from(fd)


async def test_closing_under_a_fill_waits_for_it() -> None:
    """The descriptor's number must not pass to another file while a thread reads from it."""
    with nothing_leaks():
        log = SlowLog()
        async with RealStage().run(make_shell("echo up; echo more; exec sleep 1000")) as played:
            second = await make_spawn()(make_shell("echo hello"))
            with pytest.RaisesGroup(trio.ClosedResourceError):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(second.output.pump, log)
                    await log.filling.wait()
                    with pytest.raises(trio.BusyResourceError):
                        await second.output.pump(log)
                    before = len(open_descriptors())
                    await second.output.aclose()
                    assert len(open_descriptors()) == before
                    log.go.set()
            assert log.size in {0, 6}
            await second.kill_until_empty(GUARD)
            await second.reap()
            assert not played.ended.is_set()


async def test_closing_wakes_a_waiting_pump() -> None:
    with nothing_leaks():
        child = await make_spawn()(make_program("ignore_term.py"))
        log = MemoryLog()
        with pytest.RaisesGroup(trio.ClosedResourceError):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(child.output.pump, log)
                await log.wait_beyond(2)
                await wait_all_tasks_blocked()
                await child.output.aclose()
        assert await child.kill_until_empty(GUARD) == ()
        await child.reap()


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
        Launch(argv=("true",), cwd="/", environment={"AF_TASK_TOKEN": "t", "A=B": "c"}),
        "illegal environment variable name",
    ),
    "bad text": (make_launch("/bin/sh", "-c", "\ud800"), "surrogates not allowed"),
}


@pytest.mark.parametrize("nice", [0, 5])
@pytest.mark.parametrize("case", BAD)
async def test_what_cannot_start_says_why(case: str, nice: int) -> None:
    launch, sentence = BAD[case]
    spawn = make_spawn()
    with nothing_leaks():
        with pytest.raises(SpawnError) as caught:
            await spawn(attrs.evolve(launch, nice=nice))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_file_that_is_no_program(tmp_path: Path) -> None:
    program = tmp_path / "render"
    program.write_bytes(b"\x7fELF\1\1\1" + b"\0" * 200)
    program.chmod(0o755)
    with pytest.raises(SpawnError, match="is not a program for this system"):
        await make_spawn()(make_launch(str(program)))


@pytest.mark.parametrize("nice", [0, 3])
async def test_a_relative_program_is_looked_for_in_its_folder(tmp_path: Path, nice: int) -> None:
    program = tmp_path / "render"
    program.write_text("#!/bin/sh\necho here\n")
    program.chmod(0o755)
    launch = make_launch("./render", cwd=str(tmp_path), nice=nice)
    assert await run(launch) == b"here\n"


async def test_a_hundred_children_leave_no_descriptor() -> None:
    await run(make_shell("true"))  # what is opened once and kept
    with nothing_leaks():
        for _ in range(100):
            await run(make_shell("true"))


@pytest.mark.parametrize("nice", [0, 1])
async def test_a_cancelled_spawn_leaves_nothing(nice: int) -> None:
    """Cancelled at any moment: either a child is returned, or nothing was started."""
    spawn = make_spawn()
    launch = attrs.evolve(make_shell("exec sleep 1000"), nice=nice)
    returned: list[ProcessTree] = []

    async def start() -> None:
        returned.append(await spawn(launch))

    with nothing_leaks(), trio.fail_after(GUARD):
        others = own_children()
        for pauses in range(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(start)
                for _ in range(pauses):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            assert own_children() - others == {child.pid for child in returned}
            while returned:
                child = returned.pop()
                assert await child.kill_until_empty(GUARD) == ()
                await child.reap()
                await child.output.aclose()


def fill_gaps() -> list[int]:
    """Use up all free numbers among the open descriptors, and the next one."""
    last = max(open_descriptors())
    opened = [os.open(os.devnull, os.O_RDONLY)]
    while opened[-1] <= last:
        opened.append(os.open(os.devnull, os.O_RDONLY))
    return opened


async def test_no_descriptor_left_at_any_point() -> None:
    """With ever fewer descriptors a spawn fails at ever earlier points, and leaves nothing."""
    spawn = make_spawn()
    launch = make_shell("exec sleep 1000")
    await run(make_shell("true"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    failed = 0
    with nothing_leaks(), trio.fail_after(GUARD):
        others = own_children()
        ballast = fill_gaps()
        used = max(ballast)
        for spare in range(12):
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + spare, hard))
            child: ProcessTree | None = None
            try:
                child = await spawn(launch)
            except SpawnError as error:
                failed += 1
                assert "too many open files" in str(error)  # noqa: PT017 - in a loop that goes on
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            if child is not None:
                assert await child.kill_until_empty(GUARD) == ()
                await child.reap()
                await child.output.aclose()
            assert own_children() <= others
        for descriptor in ballast:
            os.close(descriptor)
    assert 3 <= failed < 12


async def test_a_child_that_cannot_be_watched_is_taken_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last descriptor may go while the program starts: it must not run on without us."""

    def refuse(pid: int) -> ExitWatch:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(launch_errors, "make_watch", refuse)
    with nothing_leaks(), pytest.raises(SpawnError, match="too many open files"):
        await make_spawn()(make_shell("exec sleep 1000"))


async def test_a_host_without_nice_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/no/such")
    with pytest.raises(SpawnError, match='no program "nice"'):
        await make_spawn()(make_launch("/bin/sh", nice=3))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have their own words for it")
async def test_windows_is_refused_in_plain_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SpawnError, match="Windows"):
        make_spawn()

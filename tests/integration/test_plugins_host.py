"""Plugins that hang, crash, leak or end their process, and other tasks, which are not affected."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import psutil
import pytest
import trio
from support.plugins import GUARD, PLUGINS, make_spec

from trio_afrender.config import PluginSettings
from trio_afrender.errors import PluginError, PluginNotFound
from trio_afrender.plugins.host.host_pool import HostRunner, open_plugin_host
from trio_afrender.plugins.in_process import InlineRunner
from trio_afrender.plugins.interfaces import Conclusion, ParserState, PluginSpec, PluginTask
from trio_afrender.tasklog.interfaces import RunLog
from trio_afrender.tasklog.local_log import open_run_log
from trio_afrender.tasklog.memory_log import MemoryLog

NUMBERS = count()
LIMIT = 0.5
"""Seconds a call may take here: long for an honest one, also on a busy machine."""


@asynccontextmanager
async def runner_of(limit: float = LIMIT, **more: int) -> AsyncIterator[HostRunner]:
    """A warm runner; checks that leaving it leaves no process."""
    with trio.fail_after(GUARD):
        async with open_plugin_host(
            PluginSettings(), folders=[PLUGINS], time_limit=limit, **more
        ) as runner:
            await runner.warm()
            seen = {runner.pid}
            yield runner
            seen.add(runner.pid)
    for pid in seen - {None}:
        assert not psutil.pid_exists(pid or 0)


@asynccontextmanager
async def task_of(
    runner: HostRunner, folder: Path, spec: PluginSpec
) -> AsyncIterator[tuple[PluginTask, RunLog]]:
    """A task with a log on disk of its own."""
    name = f"log{next(NUMBERS)}"
    async with open_run_log(folder / name) as log, runner.open_task(spec, log) as task:
        yield task, log


async def feed(task: PluginTask, log: RunLog, data: bytes, mode: str = "RUN") -> ParserState:
    await log.append(data)
    return await task.parse(log.size, mode=mode)


async def until(there: Callable[[], bool]) -> None:
    """Wait for what nobody announces to us."""
    while not there():  # noqa: ASYNC110 - as the line above says
        await trio.sleep(0.01)


def own_pid(runner: HostRunner) -> int:
    """The process id of the host of the only task with foreign plugins."""
    (pid,) = (pid for pid in runner.pids if pid != runner.pid)
    return pid


async def kill(pid: int) -> None:
    """Kill a host, and wait until it is reaped."""
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not psutil.pid_exists(pid))


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def told(task: PluginTask) -> str:
    return "\n".join(task.problems())


async def test_answers_are_those_of_the_inline_runner(tmp_path: Path) -> None:
    (tmp_path / "a.exr").touch()
    spec = make_spec("counts", "strict", wdir=str(tmp_path), files_block=["a.exr", "b.exr"])
    answers = []
    async with runner_of() as host:
        for runner in (host, InlineRunner(folders=[PLUGINS])):
            async with (
                open_run_log(tmp_path / type(runner).__name__) as log,
                runner.open_task(spec, log) as task,
            ):
                states = [
                    await feed(task, log, b"FRAME\nFRA"),
                    await task.parse(log.size),
                    await feed(task, log, b"ME\nBADFRAME\n" * 1000 + b"\xff" * 70_000),
                    await task.parse(log.size, mode="0:0", pid=5),
                ]
                answers.append((
                    task.facts, states,
                    await task.run_end_checks(7, check_files=True, post=True),
                    await task.run_end_checks(0, check_files=True, post=True),
                    await task.on_the_fly(("a.exr",)), await task.log(), told(task), task.disabled_reason,
                ))  # fmt: skip
    assert answers[0] == answers[1]


async def test_threads_of_the_shared_host_are_used_again(tmp_path: Path) -> None:
    async with runner_of(GUARD) as runner:
        host = psutil.Process(runner.pid)

        async def use(parser: str) -> set[int]:
            """The threads of the shared host while such a task exists."""
            async with task_of(runner, tmp_path, make_spec(parser)) as (task, log):
                await feed(task, log, b"FRAME\n", "0:0")
                return {thread.id for thread in host.threads()}

        first = await use("generic")
        assert len(first) == 2
        assert await use("") == await use("arnold") == first
        assert await use("counts") == first  # foreign: not in this process
        assert await use("generic") == first


async def test_only_runs_with_foreign_code_have_a_host_of_their_own(tmp_path: Path) -> None:
    async with runner_of(GUARD) as runner:
        async with task_of(runner, tmp_path, make_spec("generic")):
            assert len(runner.pids) == 1
            async with task_of(runner, tmp_path, make_spec("counts")):
                own = own_pid(runner)
            await until(lambda: not psutil.pid_exists(own))
            async with task_of(runner, tmp_path, make_spec(service="strict")):
                assert len(runner.pids) == 2
        await until(lambda: runner.pids == (runner.pid,))


async def test_who_has_no_say_is_not_asked(tmp_path: Path) -> None:
    """Not even a host that is stopped keeps the end of such a task waiting."""
    async with runner_of(GUARD) as runner, task_of(runner, tmp_path, make_spec()) as (task, _):
        os.kill(runner.pid or 0, signal.SIGSTOP)
        try:
            with trio.fail_after(GUARD / 3):
                good = await task.run_end_checks(0, check_files=True, post=True)
                bad = await task.run_end_checks(2, check_files=True, post=True)
                said = await task.log()
        finally:
            os.kill(runner.pid or 0, signal.SIGCONT)
        assert (good, bad, said) == (Conclusion(exit_ok=True), Conclusion(exit_ok=False), "")


async def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    async with runner_of() as runner:
        with pytest.raises(PluginNotFound) as caught:
            async with task_of(runner, tmp_path, make_spec(service="generik")):
                pass
        assert caught.value.near == ("generic",)
        with pytest.raises(PluginError, match="LookupError") as broken:
            async with task_of(runner, tmp_path, make_spec(service="bad_init_raise")):
                pass
        assert "before it breaks" in broken.value.details
        with pytest.raises(PluginError, match="too large"):
            async with task_of(runner, tmp_path, make_spec(big="x" * 40_000_000)):
                pass
        with pytest.raises(PluginError, match="on disk"):
            async with runner.open_task(make_spec(), MemoryLog()):
                pass
        async with task_of(runner, tmp_path, make_spec("counts")) as (task, log):
            assert (await feed(task, log, b"FRAME\n")).frame == 1


@pytest.mark.parametrize("parser", ["bad_raise", "bad_sys_exit", "bad_flood"])
async def test_what_is_no_catastrophe_keeps_the_process(parser: str, tmp_path: Path) -> None:
    async with runner_of(5.0) as runner:
        async with task_of(runner, tmp_path, make_spec(parser)) as (task, log):
            pids = runner.pids
            state = await feed(task, log, b"FRAME RAISE EXIT\n")
            assert state.frame == 1
            assert (await feed(task, log, b"FRAME\n")).frame == 2
            assert not task.disabled_reason
            said = told(task) + await task.log()
            assert runner.pids == pids
    assert {"bad_raise": "no such thing", "bad_sys_exit": "enough", "bad_flood": "flood"}[
        parser
    ] in said


@pytest.mark.parametrize(
    ("parser", "fatal", "seen"),
    [
        ("bad_loop", b"LOOP\n", "bad_loop.py"),
        ("bad_sleep", b"WAIT\n", "bad_sleep.py"),
        ("bad_regex", b"x" * 64 + b"\n", "bad_regex.py"),
        ("bad_os_exit", b"EXIT\n", "written past everybody"),
        ("bad_segfault", b"CRASH\n", "Segmentation fault"),
        ("bad_socket", b"WRITE\n", "nonsense"),
        ("bad_fork", b"FORK\n", "exit code 4"),
    ],
)
async def test_the_guilty_is_dropped_and_the_other_goes_on(
    parser: str, fatal: bytes, seen: str, tmp_path: Path
) -> None:
    """The other one has a call under way when it happens, and the state it would have had."""
    data = [b"FRAME\nFRA", b"ME\nBADFRAME\n", b"FRAME\n" * 1000, b"FRAME"]
    inline, memory, expected = InlineRunner(folders=[PLUGINS]), MemoryLog(), []
    async with inline.open_task(make_spec("counts"), memory) as task:
        expected += [await feed(task, memory, piece) for piece in data]
        expected.append(await task.parse(memory.size, mode="0:0"))

    async with runner_of() as runner:
        pid = runner.pid
        async with (
            task_of(runner, tmp_path, make_spec(parser)) as (bad, bad_log),
            task_of(runner, tmp_path, make_spec("counts")) as (good, log),
        ):
            await feed(bad, bad_log, b"harmless\n")
            states = [await feed(good, log, data[0])]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(feed, bad, bad_log, fatal)
                states += [await feed(good, log, piece) for piece in data[1:]]
            states.append(await good.parse(log.size, mode="0:0"))
            assert states == expected
            assert not good.disabled_reason
            assert bad.disabled_reason
            assert seen in told(bad)
            assert told(good) == ""
            # What is left of the disabled plugins: the last state, and the base class.
            assert (await feed(bad, bad_log, b"more\n")).consumed == 9
            assert not (await bad.run_end_checks(7, check_files=False, post=False)).exit_ok
            assert (await bad.run_end_checks(0, check_files=False, post=False)).exit_ok
            assert await bad.log() == ""
        assert runner.pid == pid
        await until(lambda: runner.pids == (pid,))


HANGS = [("bad_regex", b"x" * 64 + b"\n"), ("bad_loop", b"LOOP\n"), ("bad_sleep", b"WAIT\n")]


@pytest.mark.parametrize(("parser", "fatal"), HANGS)
async def test_nobody_waits_until_the_guilty_is_found(
    parser: str, fatal: bytes, tmp_path: Path
) -> None:
    """Others start, are told of progress, and end, while the call of one does not come back."""
    async with runner_of(1000.0) as runner, trio.open_nursery() as nursery:
        async with (
            task_of(runner, tmp_path, make_spec("counts")) as (good, log),
            task_of(runner, tmp_path, make_spec(parser)) as (bad, bad_log),
        ):
            assert (await feed(good, log, b"FRAME\nFRA")).frame == 1
            nursery.start_soon(feed, bad, bad_log, fatal)
            for frames in range(2, 12):
                async with task_of(runner, tmp_path, make_spec("counts")) as (new, new_log):
                    assert (await feed(new, new_log, b"FRAME\n")).frame == 1
                    assert (await feed(new, new_log, b"FRAME", "0:0")).frame == 2
                    assert (await new.run_end_checks(0, check_files=True, post=True)).exit_ok
                assert (await feed(good, log, b"ME\nFRA")).frame == frames
            assert (await feed(good, log, b"ME", "0:0")).frame == 12
            assert (await good.run_end_checks(0, check_files=True, post=True)).exit_ok
            assert not bad.disabled_reason
            assert len(runner.pids) <= 4
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("parser", "fatal"), [("bad_os_exit", b"EXIT\n"), HANGS[1]])
async def test_who_was_to_blame_once_is_kept_away_from_others(
    parser: str, fatal: bytes, tmp_path: Path
) -> None:
    async with runner_of() as runner:
        async with task_of(runner, tmp_path, make_spec(parser)) as (first, first_log):
            await feed(first, first_log, fatal)
            assert first.disabled_reason
        async with task_of(runner, tmp_path, make_spec("counts")) as (good, log):
            await feed(good, log, b"FRAME\n")
            pids = runner.pids
            for _ in range(3):
                async with task_of(runner, tmp_path, make_spec(parser)) as (bad, bad_log):
                    await feed(bad, bad_log, fatal)
                    assert bad.disabled_reason
            assert (await feed(good, log, b"FRAME\n")).frame == 2
            await until(lambda: runner.pids == pids)
            assert told(good) == ""
        await until(lambda: len(runner.pids) == 1)


async def test_many_of_a_kind_that_is_to_blame_run_all_the_same(tmp_path: Path) -> None:
    """What is wrong with the plugin need not show in each task of the job."""
    async with runner_of(5.0) as runner:
        async with task_of(runner, tmp_path, make_spec("bad_os_exit")) as (bad, bad_log):
            await feed(bad, bad_log, b"EXIT\n")
        ended = []

        async def run(number: int) -> None:
            async with task_of(runner, tmp_path, make_spec("bad_os_exit")) as (task, log):
                await feed(task, log, b"EXIT\n" if number % 3 == 0 else b"harmless\n")
                await task.parse(log.size, mode="0:0")
                ended.append((number % 3 == 0, bool(task.disabled_reason)))

        async with trio.open_nursery() as nursery:
            for number in range(9):
                nursery.start_soon(run, number)
        assert sorted(ended) == [(False, False)] * 6 + [(True, True)] * 3


async def test_the_template_is_killed(tmp_path: Path) -> None:
    """The host goes on; the next one comes of another template."""
    with trio.fail_after(GUARD):
        async with (
            open_plugin_host(PluginSettings(), folders=[PLUGINS]) as runner,
            task_of(runner, tmp_path, make_spec("counts")) as (task, log),
        ):
            host = psutil.Process(own_pid(runner))
            template = host.parent()
            assert template is not None
            template.kill()
            assert (await feed(task, log, b"FRAME\n")).frame == 1
            host.kill()
            assert (await feed(task, log, b"FRAME\n")).frame == 2
            assert own_pid(runner) != host.pid
            assert not task.disabled_reason
            last = psutil.Process(own_pid(runner))
    assert not last.is_running()
    # Whoever inherits the orphan reaps it, that is not us.
    assert not host.is_running() or host.status() == psutil.STATUS_ZOMBIE


async def test_a_runner_that_is_left_while_a_host_is_being_made() -> None:
    before = children()
    for _ in range(5):
        with trio.fail_after(GUARD):
            async with open_plugin_host(PluginSettings()) as runner, trio.open_nursery() as nursery:
                nursery.start_soon(runner.warm)
                await until(lambda: children() != before)
                nursery.cancel_scope.cancel()
        assert children() == before


def children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


async def test_the_base_class_stands_in_for_what_was_dropped(tmp_path: Path) -> None:
    spec = make_spec("counts", "bad_checks", wdir=str(tmp_path), files_block=["a.exr"])
    async with runner_of() as runner, task_of(runner, tmp_path, spec) as (task, log):
        assert (await feed(task, log, b"FRAME\n")).frame == 1
        assert not (await task.run_end_checks(7, check_files=True, post=True)).exit_ok
        assert "conclude does not come back" in task.disabled_reason
        assert not (await task.run_end_checks(0, check_files=True, post=True)).files_ok
        (tmp_path / "a.exr").touch()
        assert (await task.run_end_checks(0, check_files=True, post=True)).files_ok
        assert (await task.parse(log.size, mode="0:0")).frame == 1


@pytest.mark.parametrize(
    ("service", "seen"), [("bad_init_loop", "bad_init_loop.py"), ("bad_init_exit", "exit code 5")]
)
async def test_a_service_that_ends_it_all_while_it_is_made(
    service: str, seen: str, tmp_path: Path
) -> None:
    async with runner_of() as runner:
        async with task_of(runner, tmp_path, make_spec("counts")) as (good, log):
            await feed(good, log, b"FRAME\n")
            with pytest.raises(PluginError, match=service) as caught:
                async with task_of(runner, tmp_path, make_spec(service=service)):
                    pass
            assert seen in str(caught.value) + caught.value.details
            assert (await feed(good, log, b"FRAME\n")).frame == 2


async def test_a_parser_that_is_never_made_is_done_without(tmp_path: Path) -> None:
    async with runner_of() as runner:
        async with task_of(runner, tmp_path, make_spec("bad_made")) as (task, log):
            assert not task.facts.has_parser
            assert task.facts.command == "render -f 1"
            assert "bad_made.py" in task.facts.log
            assert "without its parser" in task.facts.log
            assert (await feed(task, log, b"x\n")).consumed == 2
            assert not task.disabled_reason


async def test_one_crash_may_be_chance(tmp_path: Path) -> None:
    spec = make_spec("bad_crash_once", store_dir=str(tmp_path))
    async with runner_of() as runner, task_of(runner, tmp_path, spec) as (task, log):
        assert (await feed(task, log, b"FRAME\n")).frame == 1
        assert (await feed(task, log, b"FRAME EXIT\n")).frame == 2
        assert not task.disabled_reason
        assert "exit code 3" in told(task)


@pytest.mark.parametrize("parser", ["counts", "generic"])
async def test_a_host_killed_from_outside_is_built_anew(parser: str, tmp_path: Path) -> None:
    line = b"FRAME\n" if parser == "counts" else b"PROGRESS: 5%\n"
    async with runner_of() as runner, task_of(runner, tmp_path, make_spec(parser)) as (task, log):
        for turn in (1, 2):
            state = await feed(task, log, line + line[:3])
            await kill(runner.pids[-1])
            await log.append(line[3:] if turn == 2 else b"\n")
        state = await task.parse(log.size)
        assert (state.frame, state.percentframe) == ((3, 0) if parser == "counts" else (0, 5))
        assert not task.disabled_reason
        assert "signal SIGKILL" in told(task)


async def test_a_host_that_ends_for_no_reason_again_and_again(tmp_path: Path) -> None:
    async with runner_of(GUARD) as runner:
        async with task_of(runner, tmp_path, make_spec("counts")) as (task, log):
            await feed(task, log, b"FRAME\n")
            while not task.disabled_reason:
                await kill(own_pid(runner))
                assert (await feed(task, log, b"")).frame == 1
            assert "again and again" in task.disabled_reason
            assert (await task.parse(log.size)).frame == 1
        async with task_of(runner, tmp_path, make_spec("counts")) as (task, log):
            assert (await feed(task, log, b"FRAME\n")).frame == 1


async def test_a_shared_host_that_is_stopped_is_replaced(tmp_path: Path) -> None:
    """The run whose call was under way continues in a host of its own, others in a new shared one."""
    async with (
        runner_of() as runner,
        task_of(runner, tmp_path, make_spec("generic")) as (task, log),
        task_of(runner, tmp_path, make_spec("generic")) as (other, other_log),
    ):
        pid = runner.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        assert (await feed(task, log, b"PROGRESS: 7%\n")).percentframe == 7
        assert "does not answer" in told(task)
        assert (await feed(other, other_log, b"PROGRESS: 8%\n")).percentframe == 8
        assert runner.pid not in (pid, None)
        assert len(runner.pids) == 2
        assert not task.disabled_reason
        assert not other.disabled_reason


async def test_a_large_log_survives_a_kill_in_the_middle(tmp_path: Path) -> None:
    data = b"".join(b"FRAME %d \xc3\xa9\n" % number for number in range(400_000))
    inline, memory = InlineRunner(folders=[PLUGINS]), MemoryLog()
    async with inline.open_task(make_spec("counts"), memory) as task:
        expected = await feed(task, memory, data, "0:0")
    async with runner_of(5.0) as runner:
        async with task_of(runner, tmp_path, make_spec("counts")) as (task, log):
            await log.append(data)
            half = await task.parse(len(data) // 2)
            assert half.consumed > len(data) // 2 - 100
            pid = own_pid(runner)
            os.kill(pid, signal.SIGSTOP)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task.parse, len(data))
                await trio.testing.wait_all_tasks_blocked()
                await kill(pid)
            state = await task.parse(len(data), mode="0:0")
    assert state.resources == expected.resources
    assert state.frame == expected.frame == 400_000


async def test_large_things_travel_both_ways(tmp_path: Path) -> None:
    """More than a socket takes at once, from either end."""
    value = "é\udc80" * 500_000
    spec = make_spec("replaces", environment={"LARGE": value})
    async with runner_of(20.0) as runner, task_of(runner, tmp_path, spec) as (task, log):
        assert task.facts.environment == {"LARGE": value}
        state = await feed(task, log, "é#".encode() * 200_000 + b"\n")
        assert "".join(part.text for part in state.replaced) == "é<hash>" * 200_000 + "\n"
        assert await task.on_the_fly(("x" * 40_000_000,)) == ()
        assert "too large" in told(task)
        assert (await feed(task, log, b"#\n")).replaced[0].text == "<hash>\n"


async def test_on_the_fly_files_are_not_told_again_by_a_replay(tmp_path: Path) -> None:
    (tmp_path / "a.exr").touch()
    (tmp_path / "b.exr").touch()
    spec = make_spec("generic", wdir=str(tmp_path))
    async with runner_of() as runner, task_of(runner, tmp_path, spec) as (task, log):
        assert (await feed(task, log, b"@IMAGE!@a.exr\n")).files_onthefly
        await kill(runner.pid or 0)
        state = await feed(task, log, b"@IMAGE!@b.exr\n")
        assert state.files_onthefly == (str(tmp_path / "b.exr"),)


async def test_a_cancelled_call_loses_nothing(tmp_path: Path) -> None:
    """What a call saw whose caller has gone, the next call tells."""
    async with runner_of(5.0) as runner:
        async with task_of(runner, tmp_path, make_spec("counts")) as (task, log):
            await log.append(b"BADFRAME\n")
            with trio.CancelScope() as scope:
                os.kill(own_pid(runner), signal.SIGSTOP)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(task.parse, log.size)
                    await trio.testing.wait_all_tasks_blocked()
                    scope.cancel()
            os.kill(own_pid(runner), signal.SIGCONT)
            state = await feed(task, log, b"FRAME\n")
            assert (state.frame, state.warning) == (2, True)
            assert (await task.parse(log.size)).frame == 2


@pytest.mark.parametrize(("parser", "kept"), [("", 5), ("generic", 5), ("counts", 0)])
async def test_a_task_that_goes_while_its_objects_are_made(
    parser: str, kept: int, tmp_path: Path
) -> None:
    """In the shared host they are made to the end and dropped then; others get their replies."""
    async with (
        runner_of(GUARD) as runner,
        task_of(runner, tmp_path, make_spec("generic")) as (task, log),
    ):
        host = psutil.Process(runner.pid)
        host.suspend()  # or some of them might be made before the last one is asked for
        await until(lambda: host.status() == psutil.STATUS_STOPPED)
        for _ in range(5):
            with trio.CancelScope() as scope:
                scope.cancel()
                async with runner.open_task(make_spec(parser), log):
                    raise AssertionError("it could not have begun")
        host.resume()
        assert (await feed(task, log, b"PROGRESS: 7%\n")).percentframe == 7
        await until(lambda: host.num_threads() <= 2 + kept)
        await until(lambda: runner.pids == (runner.pid,))


async def test_a_task_that_leaves_a_hanging_call_behind(tmp_path: Path) -> None:
    """Its caller has gone: its host ends at once."""
    async with runner_of(GUARD) as runner:
        async with task_of(runner, tmp_path, make_spec("bad_loop")) as (task, log):
            await log.append(b"LOOP\n")
            with trio.move_on_after(0.05):
                await task.parse(log.size)
        await until(lambda: runner.pids == (runner.pid,))
        async with task_of(runner, tmp_path, make_spec("counts")) as (task, log):
            assert (await feed(task, log, b"FRAME\n")).frame == 1


async def test_many_hang_and_one_does_not(tmp_path: Path) -> None:
    async with runner_of() as runner, trio.open_nursery() as nursery:
        dropped = []

        async def hang() -> None:
            async with task_of(runner, tmp_path, make_spec("bad_loop")) as (task, log):
                await feed(task, log, b"LOOP\n")
                dropped.append(task.disabled_reason)

        for _ in range(3):
            nursery.start_soon(hang)
        async with task_of(runner, tmp_path, make_spec("counts")) as (task, log):
            for frames in range(1, 50):
                assert (await feed(task, log, b"FRAME\n")).frame == frames
                await trio.sleep(0.01)
            assert not task.disabled_reason
    assert len(dropped) == 3
    assert all(dropped)


async def test_a_leak_is_ended_before_it_takes_the_machine(tmp_path: Path) -> None:
    async with runner_of(LIMIT, memory_limit=256 * 1024 * 1024) as runner:
        async with (
            task_of(runner, tmp_path, make_spec("bad_leak")) as (bad, bad_log),
            task_of(runner, tmp_path, make_spec("counts")) as (good, log),
        ):
            await feed(good, log, b"FRAME\n")
            while not bad.disabled_reason:
                await feed(bad, bad_log, b"MORE\n")
                await trio.sleep(0.1)
            assert "MiB of the setting plugin_memory" in bad.disabled_reason
            assert "generic / bad_leak" in told(bad)
            assert (await feed(good, log, b"FRAME\n")).frame == 2
            assert not good.disabled_reason


async def test_what_asks_for_all_memory_at_once_gets_an_error(tmp_path: Path) -> None:
    """In its own thread; the others' objects stay where they are."""
    async with runner_of(20.0, memory_limit=256 * 1024 * 1024) as runner:
        async with (
            task_of(runner, tmp_path, make_spec("bad_gorge")) as (bad, bad_log),
            task_of(runner, tmp_path, make_spec("counts")) as (good, log),
        ):
            pids = runner.pids
            assert (await feed(bad, bad_log, b"FRAME GORGE\n")).frame == 1
            said = told(bad)
            assert "MemoryError" in said
            assert "bad_gorge.py" in said
            assert "256 MiB of memory: the setting plugin_memory" in said
            assert not bad.disabled_reason
            assert (await feed(good, log, b"FRAME\n")).frame == 1
            assert runner.pids == pids
            assert told(good) == ""


async def test_two_gigabytes_bit_by_bit_in_one_call(tmp_path: Path) -> None:
    async with runner_of(20.0, memory_limit=256 * 1024 * 1024) as runner:
        async with (
            task_of(runner, tmp_path, make_spec("bad_gorge")) as (bad, bad_log),
            task_of(runner, tmp_path, make_spec("counts")) as (good, log),
        ):
            await feed(good, log, b"FRAME\n")
            await feed(bad, bad_log, b"GROW\n")
            while not bad.disabled_reason:  # what it keeps is found when its next call is answered
                await feed(bad, bad_log, b"harmless\n")
            assert "grown to" in bad.disabled_reason
            assert "generic / bad_gorge" in told(bad)
            assert (await feed(good, log, b"FRAME\n")).frame == 2
            assert told(good) == ""


async def test_cancelling_everything_leaves_no_process(tmp_path: Path) -> None:
    pids = []
    with trio.fail_after(GUARD), trio.CancelScope() as scope:
        async with open_plugin_host(PluginSettings(), folders=[PLUGINS]) as runner:
            async with task_of(runner, tmp_path, make_spec("bad_loop")) as (task, log):
                pids.append(runner.pid or 0)
                await log.append(b"LOOP\n")
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(task.parse, log.size)
                    await trio.testing.wait_all_tasks_blocked()
                    scope.cancel()
    assert scope.cancelled_caught
    assert not psutil.pid_exists(pids[0])


async def test_errors_of_the_body_come_out_bare() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with open_plugin_host(PluginSettings()):
            raise KeyError("mine")


async def test_nothing_is_started_before_it_is_needed() -> None:
    before = set(psutil.Process().children())
    async with open_plugin_host(PluginSettings()) as runner:
        await trio.testing.wait_all_tasks_blocked()
        assert runner.pid is None
        assert set(psutil.Process().children()) == before


async def test_a_host_that_cannot_start_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with trio.fail_after(GUARD):
        async with open_plugin_host(PluginSettings()) as runner:
            monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
            with pytest.raises(PluginError, match="cannot be started"):
                await runner.warm()
            monkeypatch.setattr(sys, "executable", "/bin/false")
            with pytest.raises(PluginError, match="exit code 1"):
                async with task_of(runner, tmp_path, make_spec()):
                    pass
            monkeypatch.undo()
            async with task_of(runner, tmp_path, make_spec()) as (task, _):
                assert task.facts.command


async def test_children_of_plugins_and_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AF_SERVER_TOKEN", "secret")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/x")
    monkeypatch.setenv("PYTHONPATH", "/studio/python")
    async with runner_of() as runner:
        environment = psutil.Process(runner.pid).environ()
    assert not {"AF_SERVER_TOKEN", "NOTIFY_SOCKET"} & set(environment)
    assert environment["PYTHONPATH"].startswith("/studio/python")


async def test_strangers_of_our_names_on_pythonpath(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CGRU's own setup puts its packages first; the base classes are ours all the same."""
    for package in ("services", "parsers"):
        (tmp_path / "python" / package).mkdir(parents=True)
        (tmp_path / "python" / package / "__init__.py").touch()
        for name in ("service", "parser", "generic"):
            (tmp_path / "python" / package / f"{name}.py").write_text("raise ImportError('theirs')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "python"))
    async with runner_of() as runner, task_of(runner, tmp_path, make_spec("counts")) as (task, log):
        assert (await feed(task, log, b"FRAME\n")).frame == 1


AGENT = """
import sys, trio
from pathlib import Path
from support.plugins import PLUGINS, make_spec
from trio_afrender.config import PluginSettings
from trio_afrender.tasklog.local_log import open_run_log
from trio_afrender.plugins.host.host_pool import open_plugin_host

async def main():
    async with open_plugin_host(PluginSettings(), folders=[PLUGINS], time_limit=1000) as runner:
        async with open_run_log(Path(sys.argv[1])) as log:
            async with runner.open_task(make_spec("bad_regex"), log) as task:
                await log.append(b"x" * 64 + b"\\n")
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(task.parse, log.size)
                    await trio.sleep(0.1)
                    print(runner.pids[-1], flush=True)

trio.run(main)
"""


async def test_the_host_dies_with_the_agent_whatever_its_plugins_do(tmp_path: Path) -> None:
    """Killed without warning, and a plugin holds the interpreter lock of the host."""
    with trio.fail_after(GUARD):
        agent = await trio.lowlevel.open_process(
            [sys.executable, "-c", AGENT, str(tmp_path / "log")],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        )
        assert agent.stdout is not None
        pid = int(await agent.stdout.receive_some())
        host = psutil.Process(pid)
        agent.kill()
        await agent.wait()
        await until(lambda: not host.is_running() or host.status() == psutil.STATUS_ZOMBIE)
        await agent.stdout.aclose()


async def test_no_descriptor_is_left(tmp_path: Path) -> None:
    async with runner_of() as runner, task_of(runner, tmp_path, make_spec("counts")) as (task, log):
        await feed(task, log, b"FRAME\n")  # whatever is made once is made now
    before = descriptors()
    async with runner_of() as runner:
        for parser in ("bad_os_exit", "bad_loop", "counts"):
            async with task_of(runner, tmp_path, make_spec(parser)) as (task, log):
                await feed(task, log, b"EXIT LOOP\n")
    assert descriptors() == before

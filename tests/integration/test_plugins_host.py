"""Plugins that hang, crash, leak or end their process, and other tasks, which are not affected."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path

import psutil
import pytest
import trio
from support.plugins import GUARD, PLUGINS, make_spec
from support.polling import until
from support.process import open_descriptors
from support.written_log import WrittenLog, open_written_log

from trio_afrender.config import PluginSettings
from trio_afrender.errors import PluginError, PluginNotFound
from trio_afrender.plugins.host import forkserver
from trio_afrender.plugins.host.host_pool import HostRunner, open_plugin_host
from trio_afrender.plugins.host.task_proxy import BYTES_PER_REQUEST
from trio_afrender.plugins.in_process import InlineRunner
from trio_afrender.plugins.interfaces import Conclusion, ParserState, PluginSpec, PluginTask
from trio_afrender.tasklog.memory_log import MemoryLog

NUMBERS = count()
LIMIT = 1.0
"""Seconds for one call where one hangs. A host without processor time has three times as long."""
HANGING = ("bad_loop", "bad_sleep", "bad_regex", "bad_init_loop")
"""Plugins whose calls do not return."""


@pytest.fixture(autouse=True)
def stay_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no host that a test has stopped continued.

    That happens at multiples of an interval, of however long: the next one may be now.
    """
    monkeypatch.setattr(forkserver, "WATCH_INTERVAL", math.inf)


@asynccontextmanager
async def runner_of(limit: float = GUARD, **more: int) -> AsyncIterator[HostRunner]:
    """A warm runner, of `limit` seconds for a call. Checks that no process is left after its end."""
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
) -> AsyncIterator[tuple[PluginTask, WrittenLog]]:
    """A task with its own log on disk."""
    name = f"log{next(NUMBERS)}"
    async with open_written_log(folder / name) as log, runner.open_task(spec, log) as task:
        yield task, log


async def feed(
    task: PluginTask, log: WrittenLog | MemoryLog, data: bytes, mode: str = "RUN"
) -> ParserState:
    await log.append(data)
    return await task.parse(log.size, mode=mode)


def limit_of(plugin: str) -> float:
    """Seconds for a call where this plugin is used."""
    return LIMIT if plugin in HANGING else GUARD


def own_pid(runner: HostRunner) -> int:
    """The process id of the host of the only task with foreign plugins."""
    (pid,) = (pid for pid in runner.pids if pid != runner.pid)
    return pid


async def kill(pid: int) -> None:
    """Kill a host, and wait until it is reaped."""
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not psutil.pid_exists(pid))


def problems_of(task: PluginTask) -> str:
    return "\n".join(task.problems())


async def test_results_equal_those_of_the_inline_runner(tmp_path: Path) -> None:
    (tmp_path / "a.exr").touch()
    spec = make_spec("counts", "strict", wdir=str(tmp_path), files_block=["a.exr", "b.exr"])
    results = []
    async with runner_of() as host:
        for runner in (host, InlineRunner(folders=[PLUGINS])):
            async with (
                open_written_log(tmp_path / type(runner).__name__) as log,
                runner.open_task(spec, log) as task,
            ):
                states = [
                    await feed(task, log, b"FRAME\nFRA"),
                    await task.parse(log.size),
                    await feed(task, log, b"ME\nBADFRAME\n" * 1000 + b"\xff" * 70_000),
                    await task.parse(log.size, mode="0:0", pid=5),
                ]
                results.append((
                    task.facts, states,
                    await task.run_end_checks(7, check_files=True, post=True),
                    await task.run_end_checks(0, check_files=True, post=True),
                    await task.on_the_fly(("a.exr",)), await task.log(), problems_of(task), task.disabled_reason,
                ))  # fmt: skip
    assert results[0] == results[1]


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
                assert set(runner.pids) == {runner.pid, own_pid(runner)}
        await until(lambda: runner.pids == (runner.pid,))


async def test_a_settled_run_needs_no_call_at_its_end(tmp_path: Path) -> None:
    """Even a stopped host does not delay the end of such a task."""
    async with runner_of(GUARD) as runner, task_of(runner, tmp_path, make_spec()) as (task, _):
        os.kill(runner.pid or 0, signal.SIGSTOP)
        try:
            with trio.fail_after(GUARD / 3):
                good = await task.run_end_checks(0, check_files=True, post=True)
                bad = await task.run_end_checks(2, check_files=True, post=True)
                log = await task.log()
        finally:
            os.kill(runner.pid or 0, signal.SIGCONT)
        assert (good, bad, log) == (Conclusion(exit_ok=True), Conclusion(exit_ok=False), "")


async def test_a_task_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
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
        # Nor does any of them leave a host behind.
        await until(lambda: runner.pids == (runner.pid,))
        async with task_of(runner, tmp_path, make_spec("counts")) as (task, log):
            assert (await feed(task, log, b"FRAME\n")).frame == 1


@pytest.mark.parametrize("parser", ["bad_raise", "bad_sys_exit", "bad_flood"])
async def test_an_exception_or_a_flood_of_prints_keeps_the_process(
    parser: str, tmp_path: Path
) -> None:
    async with runner_of(5.0) as runner:
        async with task_of(runner, tmp_path, make_spec(parser)) as (task, log):
            pids = runner.pids
            state = await feed(task, log, b"FRAME RAISE EXIT\n")
            assert state.frame == 1
            assert (await feed(task, log, b"FRAME\n")).frame == 2
            assert not task.disabled_reason
            text = problems_of(task) + await task.log()
            assert runner.pids == pids
    assert {"bad_raise": "no such thing", "bad_sys_exit": "enough", "bad_flood": "flood"}[
        parser
    ] in text


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
async def test_a_plugin_that_fails_costs_only_its_own_run(
    parser: str, fatal: bytes, seen: str, tmp_path: Path
) -> None:
    """The other run has a call under way meanwhile, and gets the states that it gets without the failure."""
    data = [b"FRAME\nFRA", b"ME\nBADFRAME\n", b"FRAME\n" * 1000, b"FRAME"]
    inline, memory, expected = InlineRunner(folders=[PLUGINS]), MemoryLog(), []
    async with inline.open_task(make_spec("counts"), memory) as task:
        expected += [await feed(task, memory, piece) for piece in data]
        expected.append(await task.parse(memory.size, mode="0:0"))

    async with runner_of(limit_of(parser)) as runner:
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
            assert seen in problems_of(bad)
            assert problems_of(good) == ""
            # Disabled plugins return the last state, and the results of the base class.
            assert (await feed(bad, bad_log, b"more\n")).consumed == 9
            assert not (await bad.run_end_checks(7, check_files=False, post=False)).exit_ok
            assert (await bad.run_end_checks(0, check_files=False, post=False)).exit_ok
            assert await bad.log() == ""
        assert runner.pid == pid
        await until(lambda: runner.pids == (pid,))


async def test_a_secret_that_an_early_request_names_is_known_at_the_end(tmp_path: Path) -> None:
    async with runner_of() as runner, task_of(runner, tmp_path, make_spec("counts")) as (task, log):
        await log.append(b"::add-mask::early-secret\n" + b"z\n" * BYTES_PER_REQUEST)
        await log.append(b"::add-mask::late-secret\n")
        assert (await task.parse(log.size)).masks == ("early-secret", "late-secret")


HANGS = [("bad_regex", b"x" * 64 + b"\n"), ("bad_loop", b"LOOP\n"), ("bad_sleep", b"WAIT\n")]


@pytest.mark.parametrize(("parser", "fatal"), HANGS)
async def test_no_run_waits_for_a_call_of_another_one_that_hangs(
    parser: str, fatal: bytes, tmp_path: Path
) -> None:
    """Others start, progress and end while the call of one run does not return."""
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
            # Those of the other runs end beside this: one that is still ending counts.
            await until(lambda: len(runner.pids) <= 3)
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("parser", "fatal"), [("bad_os_exit", b"EXIT\n"), HANGS[1]])
async def test_repeated_failures_of_a_plugin_do_not_affect_other_runs(
    parser: str, fatal: bytes, tmp_path: Path
) -> None:
    async with runner_of(limit_of(parser)) as runner:
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
            assert problems_of(good) == ""
        await until(lambda: len(runner.pids) == 1)


async def test_runs_of_a_plugin_that_failed_once_are_still_run(tmp_path: Path) -> None:
    """A fault of a plugin may occur in some tasks of a job only."""
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


async def test_a_killed_fork_server_is_replaced(tmp_path: Path) -> None:
    """Its hosts keep running; the next host is forked from a new fork server."""
    with trio.fail_after(GUARD):
        async with (
            open_plugin_host(PluginSettings(), folders=[PLUGINS]) as runner,
            task_of(runner, tmp_path, make_spec("counts")) as (task, log),
        ):
            host = psutil.Process(own_pid(runner))
            fork_server = host.parent()
            assert fork_server is not None
            fork_server.kill()
            assert (await feed(task, log, b"FRAME\n")).frame == 1
            host.kill()
            assert (await feed(task, log, b"FRAME\n")).frame == 2
            assert own_pid(runner) != host.pid
            assert not task.disabled_reason
            last = psutil.Process(own_pid(runner))
    assert not last.is_running()
    # The orphan is reaped by its new parent (init or a subreaper), which may take a while. The
    # kernel closes its pipes before it is a zombie.
    with suppress(psutil.NoSuchProcess):
        await until(lambda: not host.is_running() or host.status() == psutil.STATUS_ZOMBIE)


async def test_a_runner_that_is_closed_while_a_host_starts() -> None:
    before = children()
    for _ in range(5):
        with trio.fail_after(GUARD):
            async with open_plugin_host(PluginSettings()) as runner, trio.open_nursery() as nursery:
                nursery.start_soon(runner.warm)
                await until(lambda: children() - before)
                nursery.cancel_scope.cancel()
        assert children() <= before


def children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


async def test_the_base_class_replaces_a_disabled_service(tmp_path: Path) -> None:
    spec = make_spec("counts", "bad_checks", wdir=str(tmp_path), files_block=["a.exr"])
    async with runner_of(LIMIT) as runner, task_of(runner, tmp_path, spec) as (task, log):
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
async def test_a_service_whose_constructor_hangs_or_exits_is_an_error(
    service: str, seen: str, tmp_path: Path
) -> None:
    async with runner_of(limit_of(service)) as runner:
        async with task_of(runner, tmp_path, make_spec("counts")) as (good, log):
            await feed(good, log, b"FRAME\n")
            with pytest.raises(PluginError, match=service) as caught:
                async with task_of(runner, tmp_path, make_spec(service=service)):
                    pass
            assert seen in str(caught.value) + caught.value.details
            assert (await feed(good, log, b"FRAME\n")).frame == 2


async def test_a_host_that_waits_for_a_processor_tells_where_it_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill = os.kill

    def kill_if_there(pid: int, number: int) -> None:
        with suppress(ProcessLookupError):
            kill(pid, number)

    def kill_late(pid: int, number: int) -> None:
        """Send the question after a second, as if the host got a processor only then."""
        if number == signal.SIGUSR1:
            threading.Timer(1.0, kill_if_there, (pid, number)).start()
        else:
            kill(pid, number)

    monkeypatch.setattr(os, "kill", kill_late)
    async with runner_of(LIMIT) as runner:
        async with task_of(runner, tmp_path, make_spec("bad_sleep")) as (task, log):
            await feed(task, log, b"WAIT\n")
            assert "bad_sleep.py" in problems_of(task)


async def test_a_run_continues_without_a_parser_whose_constructor_hangs(tmp_path: Path) -> None:
    async with runner_of(LIMIT) as runner:
        async with task_of(runner, tmp_path, make_spec("bad_made")) as (task, log):
            assert not task.facts.has_parser
            assert task.facts.command == "render -f 1"
            assert "bad_made.py" in task.facts.log
            assert "without its parser" in task.facts.log
            assert (await feed(task, log, b"x\n")).consumed == 2
            assert not task.disabled_reason


async def test_a_run_continues_after_one_crash(tmp_path: Path) -> None:
    spec = make_spec("bad_crash_once", store_dir=str(tmp_path))
    async with runner_of() as runner, task_of(runner, tmp_path, spec) as (task, log):
        assert (await feed(task, log, b"FRAME\n")).frame == 1
        assert (await feed(task, log, b"FRAME EXIT\n")).frame == 2
        assert not task.disabled_reason
        assert "exit code 3" in problems_of(task)


@pytest.mark.parametrize("parser", ["counts", "generic"])
async def test_a_host_killed_from_outside_is_replaced(parser: str, tmp_path: Path) -> None:
    line = b"FRAME\n" if parser == "counts" else b"PROGRESS: 5%\n"
    async with runner_of() as runner, task_of(runner, tmp_path, make_spec(parser)) as (task, log):
        for turn in (1, 2):
            state = await feed(task, log, line + line[:3])
            await kill(runner.pids[-1])
            await log.append(line[3:] if turn == 2 else b"\n")
        state = await task.parse(log.size)
        assert (state.frame, state.percentframe) == ((3, 0) if parser == "counts" else (0, 5))
        assert not task.disabled_reason
        assert "signal SIGKILL" in problems_of(task)


async def test_a_run_whose_host_dies_repeatedly_is_disabled(tmp_path: Path) -> None:
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
        runner_of(LIMIT) as runner,
        task_of(runner, tmp_path, make_spec("generic")) as (task, log),
        task_of(runner, tmp_path, make_spec("generic")) as (other, other_log),
    ):
        pid = runner.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        assert (await feed(task, log, b"PROGRESS: 7%\n")).percentframe == 7
        assert "does not answer" in problems_of(task)
        assert (await feed(other, other_log, b"PROGRESS: 8%\n")).percentframe == 8
        assert runner.pid not in (pid, None)
        assert len(runner.pids) == 2
        assert not task.disabled_reason
        assert not other.disabled_reason


async def test_a_large_log_is_parsed_completely_despite_a_kill_in_the_middle(
    tmp_path: Path,
) -> None:
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


async def test_large_messages_are_sent_both_ways(tmp_path: Path) -> None:
    """Larger than the buffer of a socket, from either end."""
    value = "é\udc80" * 500_000
    spec = make_spec("replaces", environment={"LARGE": value})
    async with runner_of(20.0) as runner, task_of(runner, tmp_path, spec) as (task, log):
        assert task.facts.environment == {"LARGE": value}
        state = await feed(task, log, "é#".encode() * 200_000 + b"\n")
        assert "".join(part.text for part in state.replaced) == "é<hash>" * 200_000 + "\n"
        assert await task.on_the_fly(("x" * 40_000_000,)) == ()
        assert "too large" in problems_of(task)
        assert (await feed(task, log, b"#\n")).replaced[0].text == "<hash>\n"


async def test_a_replay_does_not_report_files_on_the_fly_again(tmp_path: Path) -> None:
    (tmp_path / "a.exr").touch()
    (tmp_path / "b.exr").touch()
    spec = make_spec("generic", wdir=str(tmp_path))
    async with runner_of() as runner, task_of(runner, tmp_path, spec) as (task, log):
        assert (await feed(task, log, b"@IMAGE!@a.exr\n")).files_onthefly
        await kill(runner.pid or 0)
        state = await feed(task, log, b"@IMAGE!@b.exr\n")
        assert state.files_onthefly == (str(tmp_path / "b.exr"),)


async def test_a_cancelled_call_loses_nothing(tmp_path: Path) -> None:
    """The next call returns the state of a call whose caller was cancelled."""
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


@pytest.mark.parametrize(("parser", "threads"), [("", 5), ("generic", 5), ("counts", 0)])
async def test_a_task_that_is_closed_while_its_objects_are_created(
    parser: str, threads: int, tmp_path: Path
) -> None:
    """In the shared host their creation completes before they are dropped; other runs get their replies."""
    async with (
        runner_of(GUARD) as runner,
        task_of(runner, tmp_path, make_spec("generic")) as (task, log),
    ):
        host = psutil.Process(runner.pid)
        host.suspend()  # else some of them may be created before the last one is requested
        await until(lambda: host.status() == psutil.STATUS_STOPPED)
        for _ in range(5):
            with trio.CancelScope() as scope:
                scope.cancel()
                async with runner.open_task(make_spec(parser), log):
                    raise AssertionError("it could not have been opened")
        host.resume()
        assert (await feed(task, log, b"PROGRESS: 7%\n")).percentframe == 7
        await until(lambda: host.num_threads() <= 2 + threads)
        await until(lambda: runner.pids == (runner.pid,))


async def test_a_task_that_is_closed_during_a_hanging_call(tmp_path: Path) -> None:
    """Its host is killed at once, because no caller is left."""
    async with runner_of(GUARD) as runner:
        async with task_of(runner, tmp_path, make_spec("bad_loop")) as (task, log):
            await log.append(b"LOOP\n")
            with trio.move_on_after(0.05):
                await task.parse(log.size)
        await until(lambda: runner.pids == (runner.pid,))
        async with task_of(runner, tmp_path, make_spec("counts")) as (task, log):
            assert (await feed(task, log, b"FRAME\n")).frame == 1


async def test_three_hanging_runs_do_not_affect_another_one(tmp_path: Path) -> None:
    async with runner_of(LIMIT) as runner, trio.open_nursery() as nursery:
        reasons = []

        async def hang() -> None:
            async with task_of(runner, tmp_path, make_spec("bad_loop")) as (task, log):
                await feed(task, log, b"LOOP\n")
                reasons.append(task.disabled_reason)

        for _ in range(3):
            nursery.start_soon(hang)
        async with task_of(runner, tmp_path, make_spec("counts")) as (task, log):
            for frames in range(1, 50):
                assert (await feed(task, log, b"FRAME\n")).frame == frames
                await trio.sleep(0.01)
            assert not task.disabled_reason
    assert len(reasons) == 3
    assert all(reasons)


async def test_a_host_of_a_leaking_plugin_is_killed_at_the_memory_limit(tmp_path: Path) -> None:
    async with runner_of(20.0, memory_limit=256 * 1024 * 1024) as runner:
        async with (
            task_of(runner, tmp_path, make_spec("bad_leak")) as (bad, bad_log),
            task_of(runner, tmp_path, make_spec("counts")) as (good, log),
        ):
            await feed(good, log, b"FRAME\n")
            while not bad.disabled_reason:
                await feed(bad, bad_log, b"MORE\n")
                await trio.sleep(0.1)
            assert "MiB of the setting plugin_memory" in bad.disabled_reason
            assert "generic / bad_leak" in problems_of(bad)
            assert (await feed(good, log, b"FRAME\n")).frame == 2
            assert not good.disabled_reason


async def test_a_request_for_all_memory_at_once_raises_memory_error(tmp_path: Path) -> None:
    """In the process of that run; other hosts are not affected."""
    async with runner_of(20.0, memory_limit=256 * 1024 * 1024) as runner:
        async with (
            task_of(runner, tmp_path, make_spec("bad_gorge")) as (bad, bad_log),
            task_of(runner, tmp_path, make_spec("counts")) as (good, log),
        ):
            pids = runner.pids
            assert (await feed(bad, bad_log, b"FRAME GORGE\n")).frame == 1
            problems = problems_of(bad)
            assert "MemoryError" in problems
            assert "bad_gorge.py" in problems
            assert "256 MiB of memory: the setting plugin_memory" in problems
            assert not bad.disabled_reason
            assert (await feed(good, log, b"FRAME\n")).frame == 1
            assert runner.pids == pids
            assert problems_of(good) == ""


async def test_memory_that_grows_within_one_call_is_limited(tmp_path: Path) -> None:
    async with runner_of(20.0, memory_limit=256 * 1024 * 1024) as runner:
        async with (
            task_of(runner, tmp_path, make_spec("bad_gorge")) as (bad, bad_log),
            task_of(runner, tmp_path, make_spec("counts")) as (good, log),
        ):
            await feed(good, log, b"FRAME\n")
            await feed(bad, bad_log, b"GROW\n")
            while not bad.disabled_reason:  # the memory is checked with each reply
                await feed(bad, bad_log, b"harmless\n")
            assert "grown to" in bad.disabled_reason
            assert "generic / bad_gorge" in problems_of(bad)
            assert (await feed(good, log, b"FRAME\n")).frame == 2
            assert problems_of(good) == ""


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


async def test_errors_of_the_body_are_raised_without_a_group() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with open_plugin_host(PluginSettings()):
            raise KeyError("mine")


async def test_no_process_is_started_before_the_first_task() -> None:
    before = set(psutil.Process().children())
    async with open_plugin_host(PluginSettings()) as runner:
        await trio.testing.wait_all_tasks_blocked()
        assert runner.pid is None
        assert set(psutil.Process().children()) <= before


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


async def test_the_environment_of_hosts_has_no_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AF_SERVER_TOKEN", "secret")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/x")
    monkeypatch.setenv("PYTHONPATH", "/studio/python")
    async with runner_of() as runner:
        environment = psutil.Process(runner.pid).environ()
    assert not {"AF_SERVER_TOKEN", "NOTIFY_SOCKET"} & set(environment)
    assert environment["PYTHONPATH"].startswith("/studio/python")


async def test_packages_of_cgru_on_pythonpath_do_not_replace_the_built_in_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CGRU's setup puts its packages on PYTHONPATH; the base classes are still the built-in ones."""
    for package in ("services", "parsers"):
        (tmp_path / "python" / package).mkdir(parents=True)
        (tmp_path / "python" / package / "__init__.py").touch()
        for name in ("service", "parser", "generic"):
            (tmp_path / "python" / package / f"{name}.py").write_text(
                "raise ImportError('of CGRU')"
            )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "python"))
    async with runner_of() as runner, task_of(runner, tmp_path, make_spec("counts")) as (task, log):
        assert (await feed(task, log, b"FRAME\n")).frame == 1


AGENT = """
import sys, trio
from pathlib import Path
from support.plugins import PLUGINS, make_spec
from trio_afrender.config import PluginSettings
from support.written_log import open_written_log
from trio_afrender.plugins.host import forkserver
from trio_afrender.plugins.host.host_pool import open_plugin_host

async def main():
    async with open_plugin_host(PluginSettings(), folders=[PLUGINS], time_limit=1000) as runner:
        async with open_written_log(Path(sys.argv[1])) as log:
            async with runner.open_task(make_spec("bad_regex"), log) as task:
                await log.append(b"x" * 64 + b"\\n")
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(task.parse, log.size)
                    await trio.sleep(0.1)
                    print(runner.pids[-1], flush=True)

trio.run(main)
"""


async def test_the_host_dies_with_the_agent(tmp_path: Path) -> None:
    """Also if the agent is killed while a plugin holds the interpreter lock of the host."""
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
        await feed(task, log, b"FRAME\n")  # opens what stays open for the whole process
    before = open_descriptors()
    async with runner_of(LIMIT) as runner:
        for parser in ("bad_os_exit", "bad_loop", "counts"):
            async with task_of(runner, tmp_path, make_spec(parser)) as (task, log):
                await feed(task, log, b"EXIT LOOP\n")
    assert open_descriptors() <= before

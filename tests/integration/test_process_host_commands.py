"""Commands of the host's owner, run as real processes."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from support.cli import make_gate, pass_gate
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_afrender.errors import SpawnError
from trio_afrender.process import host_commands
from trio_afrender.process.command_result import CommandResult, wait_for_result
from trio_afrender.process.host_commands import ask_command, spawn_detached
from trio_afrender.tasklog.io_threads import call_in_thread

PLAIN = {"PATH": os.environ.get("PATH", os.defpath)}


async def test_a_result_has_exit_code_and_output() -> None:
    with trio.fail_after(30):
        result = await ask_command(("/bin/sh", "-c", "echo soon; exit 3"), 20, PLAIN)
    assert result == CommandResult(3, "soon\n")


async def test_long_output_is_cut() -> None:
    program = (sys.executable, "-c", "print('x' * 1_000_000)")
    with trio.fail_after(30):
        result = await ask_command(program, 20, PLAIN)
    assert result == CommandResult(0, "x" * 4096)


async def test_after_the_time_limit_the_code_is_none_and_the_command_is_killed(
    tmp_path: Path, mock_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    up = make_gate(tmp_path / "up")
    script = f"sleep 1000 & echo up; echo $$ > {up}; wait"
    results: list[CommandResult] = []
    reads = trio.Event()

    async def read(process: trio.Process, limit: float) -> CommandResult:
        reads.set()
        return await wait_for_result(process, limit)

    async def ask() -> None:
        results.append(await ask_command(("/bin/sh", "-c", script), 30.0, PLAIN))

    monkeypatch.setattr(host_commands, "wait_for_result", read)
    mock_clock.rate = 1.0  # the command may need any part of its time until it has printed
    with trio.fail_after(90):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            leader = int(await pass_gate(up))
            # A thread starts the command, and may be late: the limit begins only now.
            await reads.wait()
            await wait_all_tasks_blocked()  # its output has been read
            mock_clock.jump(30.0)
    assert results == [CommandResult(None, "up\n")]
    with pytest.raises(ProcessLookupError):
        os.kill(leader, 0)


async def test_a_command_for_which_there_is_no_thread_is_not_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def refuse(*words: object, **options: object) -> trio.Process:
        await trio.lowlevel.checkpoint()
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(trio.lowlevel, "open_process", refuse)
    with pytest.raises(SpawnError, match='cannot start "true": can\'t start new thread'):
        await ask_command(("true",), 1.0, PLAIN)


async def test_the_end_of_a_detached_command_is_waited_for_without_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error here would end the agent."""
    calls: list[object] = []

    async def refuse_second(work: Callable[[], object], **options: object) -> object:
        calls.append(work)
        if len(calls) == 2:
            await trio.lowlevel.checkpoint()
            raise OSError(errno.EAGAIN, "no thread can be started")
        return await call_in_thread(work)

    monkeypatch.setattr(host_commands, "call_in_thread", refuse_second)
    with trio.fail_after(30):
        assert await spawn_detached(("/bin/sh", "-c", "exit 3"), PLAIN) == 3
    assert len(calls) == 3


async def test_a_detached_command_starts_and_runs_in_spite_of_a_cancellation(
    tmp_path: Path,
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(spawn_detached, ("/bin/sh", "-c", f"echo up > {fifo}"), PLAIN)
            nursery.cancel_scope.cancel()  # before it has been started
        with trio.fail_after(30):
            await trio.lowlevel.wait_readable(reader)
        assert os.read(reader, 10) == b"up\n"
    finally:
        os.close(reader)


async def test_a_detached_command_returns_its_exit_code() -> None:
    with trio.fail_after(30):
        assert await spawn_detached(("/bin/sh", "-c", "exit 7"), PLAIN) == 7


async def test_a_missing_program_is_named() -> None:
    with pytest.raises(SpawnError, match="/no/such/program"):
        await spawn_detached(("/no/such/program",), PLAIN)
    with pytest.raises(SpawnError, match="/no/such/program"):
        await ask_command(("/no/such/program",), 1.0, PLAIN)

"""Commands of the host's owner, not of a task: they belong to nobody's tree and nobody ends them.

Those that are asked something (a notice command) have a time limit; those that are launched (an
instruction's) outlive the agent if they like.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import TypeAlias

import attrs
import trio

from trio_afrender.errors import SpawnError
from trio_afrender.process.oom_score import unprotecting

__all__ = ("Ask", "CommandResult", "SpawnDetached", "ask_command", "spawn_detached")

MAX_OUTPUT = 4096
"""Bytes kept of what an asked command prints."""


@attrs.frozen(slots=True)
class CommandResult:
    """What an asked command said: its exit code (None: it ran out of time) and its output."""

    code: int | None
    text: str = ""


SpawnDetached: TypeAlias = Callable[[Sequence[str]], Awaitable[int]]
"""Start a command on its own and wait for its exit code. Cancelled, it goes on without us."""
Ask: TypeAlias = Callable[[Sequence[str], float], Awaitable[CommandResult]]
"""Run a command for at most so many seconds and return its answer."""


async def spawn_detached(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """Start `argv` in a session of its own, without our descriptors, and wait for its end.

    Cancelled, it leaves the command running: a reboot is not to be stopped by our own end.
    Returns the exit code, negative for a signal. Raises `SpawnError`.
    """
    # Not by `subprocess`, which complains of a process that nobody waits for any more. Shielded:
    # "launch this, then exit" must not lose the command.
    with trio.CancelScope(shield=True):
        pid = await trio.to_thread.run_sync(_spawn, (*unprotecting(), *argv), dict(environment))
    status = await trio.to_thread.run_sync(
        os.waitpid, pid, 0, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
    )
    return os.waitstatus_to_exitcode(status[1])


def _spawn(argv: tuple[str, ...], environment: dict[str, str]) -> int:
    devnull = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    try:
        return os.posix_spawnp(argv[0], argv, environment, file_actions=devnull, setsid=True)
    except OSError as error:
        raise _explain(argv, error) from error


async def ask_command(
    argv: Sequence[str], limit: float, environment: Mapping[str, str]
) -> CommandResult:
    """Run `argv` and return what it said. Too late or cancelled, its group is killed.

    Raises `SpawnError`.
    """
    process = await _open(argv, environment, subprocess.PIPE)
    assert process.stdout is not None  # noqa: S101 - as asked for
    text = b""
    try:
        with trio.move_on_after(limit):
            async with process.stdout as output:
                async for data in output:
                    text = (text + data)[:MAX_OUTPUT]
            code = await process.wait()
            return CommandResult(code, text.decode(errors="replace"))
    finally:
        if process.returncode is None:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            with trio.CancelScope(shield=True):
                await process.wait()
    return CommandResult(None, text.decode(errors="replace"))


async def _open(argv: Sequence[str], environment: Mapping[str, str], output: int) -> trio.Process:
    try:
        return await trio.lowlevel.open_process(
            list(argv),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise _explain(argv, error) from error


def _explain(argv: Sequence[str], error: OSError) -> SpawnError:
    return SpawnError(f'cannot start "{argv[0]}": {error.strerror or error}')

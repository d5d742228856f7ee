"""Commands of the host's owner, which belong to no task and to no process tree.

`ask_command` runs one for its output, with a time limit (a notice command). `spawn_detached` starts
one that may outlive the agent (the command of a server's instruction).
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

import trio

from trio_afrender.errors import is_exhausted
from trio_afrender.process.command_result import CommandResult, explain_start, wait_for_result
from trio_afrender.process.oom_score import unprotecting
from trio_afrender.tasklog.io_threads import call_in_thread

__all__ = ("ask_command", "spawn_detached")


async def spawn_detached(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """Start `argv` in a new session, without the agent's descriptors, and wait for its end.

    Cancelled, it leaves the command running: the end of the agent must not stop a reboot. Returns
    the exit code, negative for a signal. Raises `SpawnError`.
    """
    words = (*unprotecting(), *argv)
    # The command may outlive the agent, and a pipe to which the agent prints has no reader then.
    devnull = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    # `os.posix_spawn` instead of `subprocess`, which warns about a process that is never waited for.
    spawn = partial(
        os.posix_spawnp, words[0], words, dict(environment), file_actions=devnull, setsid=True
    )
    try:
        # Shielded: the instruction "launch this, then exit" must not lose the command.
        with trio.CancelScope(shield=True):
            pid = await call_in_thread(spawn)
    except OSError as error:
        raise explain_start(words, error) from error
    # The thread waits as long as the command runs, maybe for hours: with a limiter of its own it
    # takes no token from trio's shared one. Cancelled, the thread is left behind; the end of the
    # program does not wait for it.
    wait = partial(os.waitpid, pid, 0)
    while True:
        try:
            status = await call_in_thread(wait, limiter=trio.CapacityLimiter(1), abandon=True)
        except OSError as error:
            if not is_exhausted(error):
                raise
            # No thread could be started for seconds. The command runs: its end is still waited for.
        else:
            return os.waitstatus_to_exitcode(status[1])


async def ask_command(
    argv: Sequence[str], limit: float, environment: Mapping[str, str]
) -> CommandResult:
    """Run `argv` for at most `limit` seconds and return its exit code and its output.

    After the limit, or cancelled, its process group is killed. Raises `SpawnError`.
    """
    try:
        process = await trio.lowlevel.open_process(
            list(argv),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not is_exhausted(error):
            raise
        raise explain_start(argv, error) from error
    try:
        return await wait_for_result(process, limit)
    finally:
        if process.returncode is None:  # not reaped, so its pid is not reused
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            with trio.CancelScope(shield=True):
                await process.wait()

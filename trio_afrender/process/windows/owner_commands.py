"""Commands of the host's owner on Windows, and the look whether the host can start a task again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import trio

from trio_afrender.process.command_result import CommandResult, explain_start, wait_for_result
from trio_afrender.process.windows.command_line import make_command_line
from trio_afrender.process.windows.process_job import ProcessJob
from trio_afrender.process.windows.win32 import NO_WINDOW
from trio_afrender.safe_files import write_whole
from trio_afrender.supervisor.run_folders import make_folders, remove_folders
from trio_afrender.tasklog.io_threads import call_in_thread

__all__ = ("ask_command", "probe_host", "spawn_detached")

DETACHED = 0x8
"""No console: Ctrl+C and the end of the agent's console do not reach the command."""
FILE_SIZE = 256 * 1024
"""Bytes on the store's disk."""


async def spawn_detached(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """Start `argv` without the agent's handles and console, and wait for its end; return its exit code.

    Cancelled, it leaves the command running: the end of the agent must not stop a reboot. Raises
    `SpawnError`.
    """
    try:
        with trio.CancelScope(shield=True):
            process = await call_in_thread(
                partial(
                    subprocess.Popen,
                    make_command_line(argv),
                    env=dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    creationflags=DETACHED,
                )
            )
    except OSError as error:
        raise explain_start(argv, error) from error
    code: int = await call_in_thread(process.wait, limiter=trio.CapacityLimiter(1), abandon=True)
    return code


async def ask_command(
    argv: Sequence[str], limit: float, environment: Mapping[str, str]
) -> CommandResult:
    """Run `argv` for at most `limit` seconds and return its exit code and its output.

    After the limit, or cancelled, it and what it has started are ended. Raises `SpawnError`.
    """
    with ProcessJob() as job:
        try:
            process = await job.start(make_command_line(argv), environment=environment)
        except OSError as error:
            raise explain_start(argv, error) from error
        try:
            return await wait_for_result(process, limit)
        finally:
            if process.returncode is None:
                job.close()
                with trio.CancelScope(shield=True):
                    await process.wait()


async def probe_host(store: Path, processes: int) -> None:
    """Make what a start of a task makes. Raises `OSError` as Windows refuses it.

    `processes` has no effect: a job counts its own members only.
    """
    await trio.to_thread.run_sync(partial(_probe, store / "probe"))


def _probe(path: Path) -> None:
    try:
        make_folders(str(path / name) for name in ("work", "files", "log"))
        write_whole(path / "log" / "0", bytes(FILE_SIZE), mode=0o600)
    finally:
        remove_folders([str(path)])
    environment = {name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ}
    subprocess.run(
        [sys.executable, "-I", "-S", "-c", ""],
        env=environment,
        check=False,
        stdin=subprocess.DEVNULL,
        creationflags=NO_WINDOW,
    )

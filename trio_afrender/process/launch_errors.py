"""Start the leader of a tree, and explain in one sentence why that failed."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
from functools import cache, partial
from pathlib import Path

import trio

from trio_afrender.errors import SpawnError
from trio_afrender.process.exit_watch import make_watch
from trio_afrender.process.interfaces import Launch
from trio_afrender.process.local_tree import LocalTree
from trio_afrender.process.oom_score import unprotecting
from trio_afrender.process.pipe import Pipe, open_pipe
from trio_afrender.process.process_snapshot import ProcessTable

__all__ = ("check_launch", "explain_launch_error", "launch_process")


async def launch_process(
    launch: Launch, *, subreaper: bool, threads: trio.CapacityLimiter, table: ProcessTable
) -> LocalTree:
    """Start `launch` in a new session, with one pipe for stdout and stderr.

    Raises `SpawnError`. Cancelled, nothing was started and no descriptor stays open.
    """
    check_launch(launch)
    token = launch.environment["AF_TASK_TOKEN"]
    argv = await _prefix(launch, threads)
    try:
        reader, writer = open_pipe()
    except OSError as error:
        raise SpawnError(explain_launch_error(launch, error)) from error
    try:
        process = await _open_process(launch, argv, writer)
    except BaseException:
        os.close(reader)
        raise
    finally:
        # Only the tree may have a write end, else the pipe would never end.
        os.close(writer)
    # No checkpoint from here to the return, except before an error is raised: a cancellation in
    # between would leave a process without an owner.
    try:
        watch = make_watch(process.pid)
    except OSError as error:
        os.close(reader)
        with trio.CancelScope(shield=True):
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        raise SpawnError(explain_launch_error(launch, error)) from error
    return LocalTree(
        process,
        watch=watch,
        output=Pipe(reader),
        token=token,
        subreaper=subreaper,
        threads=threads,
        table=table,
    )


def check_launch(launch: Launch) -> None:
    """Raise `SpawnError` for a launch without a command or without the marker."""
    if not launch.environment.get("AF_TASK_TOKEN"):
        raise SpawnError("the environment of a task must hold AF_TASK_TOKEN")
    if not launch.argv or not launch.argv[0]:
        raise SpawnError("the command is empty")


async def _open_process(launch: Launch, argv: tuple[str, ...], writer: int) -> trio.Process:
    try:
        # stderr goes into the pipe of stdout: with two pipes the order of their lines is lost. A new
        # session: without the agent's terminal a background read cannot stop the program.
        return await trio.lowlevel.open_process(
            argv,
            cwd=launch.cwd,
            env=launch.environment,
            stdin=subprocess.DEVNULL,
            stdout=None if launch.console else writer,
            stderr=None if launch.console else subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise SpawnError(explain_launch_error(launch, error)) from error


async def _prefix(launch: Launch, threads: trio.CapacityLimiter) -> tuple[str, ...]:
    """Return argv behind the words that set priority and OOM score. Raises `SpawnError`.

    They are set before the program runs: a call afterwards would race with its first forks.
    """
    before = unprotecting()
    if not launch.nice and not before:
        return launch.argv
    # `nice` would print that a program is missing and exit with 127, and the task would count as
    # one that ran.
    await trio.to_thread.run_sync(partial(_check_program, launch), limiter=threads)
    if not launch.nice:
        return (*before, *launch.argv)
    return (*before, _find_nice(os.environ.get("PATH")), "-n", str(launch.nice), *launch.argv)


@cache
def _find_nice(path: str | None) -> str:
    # Cached: a search of the whole PATH would be a large part of the start of a tiny task.
    found = shutil.which("nice", path=path)
    if found is None:
        raise SpawnError('there is no program "nice" on this host, set the priority to 0')
    return found


def _check_program(launch: Launch) -> None:
    program = launch.argv[0]
    folder = Path(launch.cwd)
    if not folder.is_dir():
        return  # the start itself reports that
    if "/" in program:
        candidates = [folder / program]
    else:
        search = launch.environment.get("PATH") or os.defpath
        candidates = [folder / each / program for each in search.split(os.pathsep)]
    try:
        present = [path for path in candidates if path.is_file()]
    except (OSError, ValueError):
        return  # the start itself reports that
    if not present:
        raise SpawnError(f'there is no program "{program}"')
    if not any(os.access(path, os.X_OK) for path in present):
        raise SpawnError(f'"{present[0]}" may not be executed')


def explain_launch_error(launch: Launch, error: OSError | ValueError) -> str:
    """Return one sentence about what is wrong, with the name of the program or the folder."""
    program = launch.argv[0]
    if not isinstance(error, OSError):
        return f'cannot start "{program}": {error} in the command, folder or environment'
    # `Popen` reports an error of its `chdir` with the folder as filename.
    if error.filename == launch.cwd:
        text = {
            errno.ENOENT: "does not exist",
            errno.ENOTDIR: "is not a folder",
            errno.EACCES: "may not be entered",
        }.get(error.errno or 0, f"cannot be entered ({error.strerror})")
        return f'the working folder "{launch.cwd}" {text}'
    # Linux limits one string to 128 KiB, and all together to a quarter of the stack's limit.
    if error.errno == errno.E2BIG:
        size = sum(len(os.fsencode(each)) + 1 for each in launch.argv)
        size += sum(len(os.fsencode(f"{k}={v}")) + 1 for k, v in launch.environment.items())
        return f'cannot start "{program}": {size} bytes of command and environment are too many'
    return {
        errno.ENOENT: f'there is no program "{program}"',
        errno.ENOTDIR: f'there is no program "{program}"',
        errno.EACCES: f'"{program}" may not be executed',
        errno.ENOEXEC: f'"{program}" is not a program for this system',
        errno.EAGAIN: f'cannot start "{program}": this user may not have more processes',
        errno.ENOMEM: f'cannot start "{program}": the host has no memory for it',
        errno.EMFILE: f'cannot start "{program}": this process has too many open files',
        errno.ENFILE: f'cannot start "{program}": this host has too many open files',
    }.get(error.errno or 0, f'cannot start "{program}": {error.strerror or error}')

"""Start a helper of the agent with pipes, and end it together with what it has started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import trio

__all__ = ("start_helper",)


async def start_helper(
    command: Sequence[str], environment: Mapping[str, str], *, nice: int = 0
) -> tuple[trio.Process, Callable[[], None]]:
    """Start a helper; return it, and the function that kills it and all below it.

    On Unix it sets its nice value itself. Its stdin and stdout are pipes, its stderr goes nowhere.
    Raises `OSError`, and `RuntimeError` where no thread can be started. There is no checkpoint after
    the start: it raises, or the process is returned.
    """
    if sys.platform == "win32":
        from trio_afrender.process.windows.job_trees import priority_class
        from trio_afrender.process.windows.process_job import ProcessJob

        job = ProcessJob()
        try:
            process = await job.start(
                command,
                environment=environment,
                stdin=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                priority=priority_class(nice),
            )
        except BaseException:
            job.close()
            raise
        return process, job.close
    # A session of its own, so that a kill of its group reaches what it starts.
    started = await trio.lowlevel.open_process(
        list(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=environment,
    )

    def kill() -> None:
        # Only an unreaped leader keeps the number of its group from being given again.
        if started.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(started.pid, signal.SIGKILL)

    return started, kill

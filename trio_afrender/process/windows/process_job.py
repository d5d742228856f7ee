"""A job object around one helper of the agent: it ends with the agent, and with all that it has started."""

from __future__ import annotations

import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

import trio

from trio_afrender.process.windows.win32 import NEW_PROCESS_GROUP, NO_WINDOW, calls

__all__ = ("ProcessJob",)


class ProcessJob:
    """A job for one process, ended by `close` or at the end of the ``with`` block."""

    def __init__(self) -> None:
        """Raises `OSError`."""
        self._job = calls().create_job()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def start(
        self,
        command: str | Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        folder: str | None = None,
        stdin: int = subprocess.DEVNULL,
        stderr: int = subprocess.STDOUT,
        priority: int = 0,
    ) -> trio.Process:
        """Start a process whose stdout is a pipe, and put it into the job. Raises `OSError`.

        Ctrl+C is for the agent alone, and no window of a console opens. What the process starts before it
        is in the job is not in it: the process must wait for its first input before it starts anything.
        """
        open_process: Callable[..., Awaitable[trio.Process]] = trio.lowlevel.open_process
        process = await open_process(
            command,
            env=environment,
            cwd=folder,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            creationflags=NEW_PROCESS_GROUP | NO_WINDOW | priority,
        )
        handle: int = vars(process._proc)["_handle"]  # noqa: SLF001 - trio has no name for it
        with suppress(OSError):  # it has ended
            calls().assign(self._job, int(handle))
        return process

    def close(self) -> None:
        """End all members. May be called again."""
        job, self._job = self._job, 0
        if job:
            calls().close(job)

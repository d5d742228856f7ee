"""A plugin host on a system without fork (Windows): a fresh interpreter in a job object of its own.

The job ends the host, and all that plugins have started in it, when the agent closes it or ends. The
host gets its socket over its stdin: Windows passes a copy of a socket on as bytes, to one process only.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil
import trio

from trio_afrender.errors import PluginError
from trio_afrender.plugins.host.connection import TRACE_TIMEOUT, find_trace
from trio_afrender.plugins.host.forkserver import describe_end
from trio_afrender.plugins.host.host_link import HostLink
from trio_afrender.process.environment import clean_environment
from trio_afrender.process.windows.process_job import ProcessJob

__all__ = ("SpawnedHost", "open_spawned_host")

END_TIMEOUT = 5.0
START_TIMEOUT = 20.0
"""Seconds for the interpreter to start: it may be on a slow share."""
_SHARE = "share"
"""A method that sockets have on Windows alone."""
THREAD_DIGITS = 8
"""Hexadecimal digits of a thread's number in a dump: those of a C long."""


class SpawnedHost(HostLink):
    """One plugin host. Made by `open_spawned_host`, which also ends it."""

    def __init__(self, process: trio.Process, job: ProcessJob, link: socket.socket) -> None:
        assert process.stdout is not None  # noqa: S101 - asked for when it was started
        super().__init__(process.pid, link, process.stdout)
        self._process = process
        self._job = job
        self._figures: psutil.Process | None = None
        with contextlib.suppress(psutil.Error):
            self._figures = psutil.Process(process.pid)

    async def exited(self) -> None:
        """Wait for the end of the process."""
        await self._process.wait()

    async def where_is(self, thread: int) -> str:
        """As `HostProcess.where_is`: the host prints a dump by itself when a call takes long."""
        with trio.move_on_after(TRACE_TIMEOUT):
            while not (lines := find_trace(self.printed, thread, THREAD_DIGITS)):
                await self._print_seen.wait()
            return lines
        return ""

    def cpu_usage(self) -> tuple[float, bool]:
        """As `HostProcess.cpu_usage`. Windows does not say cheaply whether a thread could run."""
        with contextlib.suppress(psutil.Error, OSError):
            if self._figures is not None:
                times = self._figures.cpu_times()
                return times.user + times.system, True
        return 0.0, False

    def resident(self) -> int:
        """Bytes of memory it has; 0 where the system does not say."""
        with contextlib.suppress(psutil.Error, OSError):
            if self._figures is not None:
                return self._figures.memory_info().rss
        return 0

    async def end(self) -> None:
        """Kill it and what it has started; returns within `END_TIMEOUT` seconds."""
        with trio.CancelScope(shield=True):
            self._job.close()
            with trio.move_on_after(END_TIMEOUT):
                await self._process.wait()
            await self._output.aclose()

    def describe_exit(self) -> str:
        """The exit code, for people; known once the process has ended."""
        return describe_end(self._process.returncode)


@asynccontextmanager
async def open_spawned_host() -> AsyncIterator[SpawnedHost]:
    """Start a plugin host; leaving kills it with all it has started, in whatever state it is.

    Raises `PluginError` when that fails. `write` and `listen` must be run by the caller.
    """
    ours, theirs = socket.socketpair()
    try:
        ours.setblocking(False)
        host: SpawnedHost | None = None
        with ProcessJob() as job, theirs:
            try:
                # It has its socket later, so no code of a plugin runs before it is in the job.
                process = await job.start(
                    [sys.executable, "-P", "-m", "trio_afrender.plugins.host.spawned_host_main"],
                    environment=clean_environment(os.environ),
                    stdin=subprocess.PIPE,
                )
            except OSError as error:
                raise PluginError(f"it cannot be started: {error}") from error
            try:
                host = SpawnedHost(process, job, ours)
                assert process.stdin is not None  # noqa: S101 - asked for just now
                assert process.stdout is not None  # noqa: S101 - as above
                with trio.move_on_after(START_TIMEOUT):
                    copied: bytes = getattr(theirs, _SHARE)(process.pid)
                    with contextlib.suppress(trio.BrokenResourceError):
                        async with process.stdin as stdin:
                            await stdin.send_all(copied)
                    await process.stdout.receive_some(1)  # it has the socket, or has ended
                # Closed only now: the process makes its copy of ours.
                theirs.close()
                yield host
            finally:
                if host is not None:
                    await host.end()
    finally:
        trio.lowlevel.notify_closing(ours)
        ours.close()

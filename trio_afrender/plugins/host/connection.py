"""A plugin host as a process: its socket, its output, its figures in ``/proc``, its end."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from trio_afrender.plugins.host.forkserver import ForkServer, describe_end, make_links
from trio_afrender.plugins.host.host_link import HostLink

__all__ = ("HostProcess", "find_trace", "open_host_process")

logger: logging.Logger = logging.getLogger(__name__)

TRACE_TIMEOUT = 5.0
"""Seconds it may take to print where its threads are: on a busy machine, where calls are late too, it
waits for a processor."""
REAP_TIMEOUT = 5.0


class HostProcess(HostLink):
    """One forked plugin host. Made by `open_host_process`, which also ends it."""

    def __init__(self, pid: int, fork_server: ForkServer, link: socket.socket, output: int) -> None:
        super().__init__(pid, link, trio.lowlevel.FdStream(output))
        self._fork_server = fork_server
        self._status: int | None = None
        self._pidfd: int | None = None
        # Other systems than Linux have none, and a sandbox may refuse it.
        with contextlib.suppress(AttributeError, OSError):
            self._pidfd = os.pidfd_open(pid)

    async def exited(self) -> None:
        """Wait for the end of the process. Its group can still be signalled then.

        Where the system gives no descriptor of a process, the end of its socket has to do.
        """
        if self._pidfd is None:
            await trio.sleep_forever()
        else:
            await trio.lowlevel.wait_readable(self._pidfd)

    async def where_is(self, thread: int) -> str:
        """Where in its code a thread is, innermost first; empty when it is not known.

        Works while a plugin holds the interpreter lock. Needs `listen` to run.
        """
        self._printed = ""  # an earlier dump must not be taken for this one
        with contextlib.suppress(ProcessLookupError):
            # To the handler of `faulthandler`, which is C and needs no interpreter lock.
            os.kill(self.pid, signal.SIGUSR1)
        with trio.move_on_after(TRACE_TIMEOUT):
            while not (lines := find_trace(self._printed, thread)):
                await self._print_seen.wait()
            return lines
        return ""

    def cpu_usage(self) -> tuple[float, bool]:
        """Seconds of processor time the process has used, and whether a thread of it could run now.

        A thread could run if it has a processor, waits for one, or waits for a disk. (0, False)
        where the system does not say.
        """
        used, runnable = 0.0, False
        try:
            for thread in Path(f"/proc/{self.pid}/task").iterdir():
                # Behind the name in parentheses, which may have any characters itself.
                stat = (thread / "stat").read_text(encoding="ascii").rpartition(")")[2].split()
                used += (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
                runnable = runnable or stat[0] in "RD"
        except (OSError, ValueError, IndexError):
            return used, runnable  # a thread has ended between the two looks, or the process has
        return used, runnable

    def resident(self) -> int:
        """Bytes of memory it has; 0 where the system does not say."""
        try:
            statm = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii")
            return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError, IndexError):
            return 0

    async def end(self) -> None:
        """Kill and reap it and what it has started; returns within `REAP_TIMEOUT` seconds."""
        # Shielded: an agent that is cancelled must not leave a busy loop of a plugin behind.
        with trio.CancelScope(shield=True):
            # Both exist as long as it is not reaped, so the number is still ours. The group it
            # may not have made yet.
            for kill in (os.killpg, os.kill):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    kill(self.pid, signal.SIGKILL)
            with trio.move_on_after(REAP_TIMEOUT) as reaping:
                self._status = await self._fork_server.reap(self.pid)
            if reaping.cancelled_caught:  # it waits for a hung disk or driver, which no signal ends
                logger.error("plugin host %d cannot be killed", self.pid)
            if self._pidfd is not None:
                trio.lowlevel.notify_closing(self._pidfd)
                os.close(self._pidfd)
            await self._output.aclose()

    def describe_exit(self) -> str:
        """The exit code or signal, for people; known once the process has ended."""
        if self._status is None:
            return "its exit status is not known"
        return describe_end(os.waitstatus_to_exitcode(self._status))


def find_trace(printed: str, thread: int, digits: int = 16) -> str:
    """The lines of one thread in a dump of all of them, once the dump is past it.

    `digits` is how many hexadecimal ones `faulthandler` prints of a thread's number.
    """
    _, found, rest = printed.partition(f"hread 0x{thread:0{digits}x} (most recent call first):\n")
    if not found:
        return ""
    lines: list[str] = []
    for line in rest.splitlines(keepends=True):
        if not line.endswith("\n"):
            break  # the rest of it has not been read yet
        if not line.startswith("  "):
            return "".join(lines)
        lines.append(line)
    # The last thread of a dump has nothing behind it: its outermost frame is ours, and known.
    return "".join(lines) if lines and "_bootstrap\n" in lines[-1] else ""


@asynccontextmanager
async def open_host_process(fork_server: ForkServer) -> AsyncIterator[HostProcess]:
    """Have a plugin host forked; leaving kills it with all it has started, in whatever state it is.

    Raises `PluginError` when that fails. `write` and `listen` must be run by the caller.
    """
    ours, theirs, ((their_pipe, our_pipe), (printed, output)) = make_links(2)
    try:
        ours.setblocking(False)
        try:
            # No checkpoint between `fork` and `yield`: it raises, or the process is ended below.
            pid = await fork_server.fork(theirs.fileno(), their_pipe, output)
        except BaseException:
            os.close(printed)
            raise
        finally:
            # While a copy of these is open here, the end of the process does not end the streams.
            theirs.close()
            os.close(their_pipe)
            os.close(output)
        host = HostProcess(pid, fork_server, ours, printed)
        try:
            yield host
        finally:
            await host.end()
    finally:
        trio.lowlevel.notify_closing(ours)
        ours.close()
        os.close(our_pipe)  # last: the kernel kills the host's group when this closes

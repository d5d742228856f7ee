"""A plugin host as a process: its socket, its output, its figures in ``/proc``, its end."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from trio_afrender.async_helpers import RepeatedEvent
from trio_afrender.plugins.host.forkserver import (
    ForkServer,
    describe_end,
    make_links,
    receive_messages,
)
from trio_afrender.plugins.host.host_protocol import PluginFrameReader, pack

__all__ = ("HostProcess", "open_host_process")

logger = logging.getLogger(__name__)

RECEIVE_SIZE = 256 * 1024
MAX_PRINTED_TAIL = 64 * 1024
"""Characters kept of what the process printed itself, as a dump of all its threads."""
FLOOD_SIZE = 16 * 1024
FLOOD_PAUSE = 0.05
"""Seconds between two looks at a process that prints `FLOOD_SIZE` bytes at once: the process waits then, not the agent."""
TRACE_TIMEOUT = 0.5
"""Seconds it may take to print where its threads are."""
REAP_TIMEOUT = 5.0


class HostProcess:
    """One plugin host. Made by `open_host_process`, which also ends it."""

    def __init__(self, pid: int, fork_server: ForkServer, link: socket.socket, output: int) -> None:
        self.pid = pid
        self._fork_server = fork_server
        self._link = link
        self._output = trio.lowlevel.FdStream(output)
        self._frames = PluginFrameReader()
        self._backlog = bytearray()  # frames that the socket's buffer had no room for
        self._later = bytearray()  # frames for which the process is not woken
        self._writable = trio.Event()
        self._printed = ""
        self._print_seen = RepeatedEvent()
        self._status: int | None = None
        self._pidfd: int | None = None
        # Other systems than Linux have none, and a sandbox may refuse it.
        with contextlib.suppress(AttributeError, OSError):
            self._pidfd = os.pidfd_open(pid)

    @property
    def printed(self) -> str:
        """The end of what the process itself printed: last words, tracebacks of a crash."""
        return self._printed

    def send(self, message: Mapping[str, object]) -> None:
        """Send a message, or as much as goes at once: `write` does the rest. Never blocks.

        Raises `ProtocolError` for a message that is too large. A process that has
        ended is noticed by `receive`.
        """
        frame = bytes(self._later) + pack(message)
        self._later.clear()
        if not self._backlog:  # else it would overtake what waits there
            # Most messages fit into the socket's buffer. Sent here they cost no switch to `write`.
            with contextlib.suppress(BlockingIOError, ConnectionError):
                frame = frame[self._link.send(frame) :]
            if not frame:
                return
        self._backlog += frame
        self._writable.set()

    def send_later(self, message: Mapping[str, object]) -> None:
        """Send a message together with the next one: it is not worth waking the process for."""
        self._later += pack(message)

    async def write(self) -> None:
        """Send what did not go at once. Runs until cancelled or the process is gone."""
        while True:
            await self._writable.wait()
            self._writable = trio.Event()
            while self._backlog:
                await trio.lowlevel.wait_writable(self._link)
                try:
                    del self._backlog[: self._link.send(self._backlog)]
                except BlockingIOError:
                    continue
                except ConnectionError:
                    return

    async def receive(self) -> list[dict[str, object]]:
        """The next messages; empty at the end. Raises `ProtocolError` for anything else."""
        return await receive_messages(self._link, self._frames, RECEIVE_SIZE)

    async def listen(self) -> None:
        """Keep the end of what the process prints, until it has closed its output."""
        while data := await self._output.receive_some(RECEIVE_SIZE // 4):
            text = data.decode("utf-8", "replace")
            logger.debug("the plugin host printed: %s", text[:FLOOD_SIZE])
            self._printed = (self._printed + text)[-MAX_PRINTED_TAIL:]
            self._print_seen.set()
            if len(data) > FLOOD_SIZE:
                # The pipe is full meanwhile, so a plugin that prints without end is slowed down.
                await trio.sleep(FLOOD_PAUSE)

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
            while not (lines := _find_trace(self._printed, thread)):
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


def _find_trace(printed: str, thread: int) -> str:
    """The lines of one thread in a dump of all of them, once the dump is past it."""
    _, found, rest = printed.partition(f"hread 0x{thread:016x} (most recent call first):\n")
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

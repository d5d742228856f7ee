"""The plugin host as a process: starts it, carries bytes, reads its figures, makes an end of it."""

from __future__ import annotations

import contextlib
import fnmatch
import logging
import os
import signal
import site
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import trio

import trio_afrender
from trio_afrender.errors import PluginError
from trio_afrender.plugins.exchange import Frames, pack

__all__ = ("HostProcess", "clean_environment", "open_host_process")

logger = logging.getLogger(__name__)

SECRET = ("*TOKEN*", "NOTIFY_SOCKET", "WATCHDOG_*", "LISTEN_*")
"""Names of variables that are not for children."""
RECEIVED = 256 * 1024
PRINTED = 64 * 1024
"""Characters kept of what the process printed past our capturing: a dump of all its threads."""
FLOOD = 16 * 1024
FLOOD_PAUSE = 0.05
"""Seconds between two looks at a process that prints `FLOOD` bytes at once: it waits, not we."""
TRACE_TIME = 0.5
"""Seconds it may take to print where its threads are."""
REAP_TIME = 5.0


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The agent's environment without secrets and without what speaks to its service manager.

    PYTHONPATH stays: plugins of studios import from there.
    """
    cleaned = {
        name: value
        for name, value in environment.items()
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in SECRET)
    }
    root = Path(trio_afrender.__file__).resolve().parents[1]
    places = (*site.getsitepackages(), site.getusersitepackages())
    installed = {Path(place).resolve() for place in places}
    if root not in installed:
        # A source tree, or an application that brings us along: the child must find us too.
        known = cleaned.get("PYTHONPATH")
        cleaned["PYTHONPATH"] = f"{known}{os.pathsep}{root}" if known else str(root)
    return cleaned


class HostProcess:
    """One plugin host. Made by `open_host_process`, which also ends it."""

    def __init__(self, process: trio.Process, link: socket.socket) -> None:
        self._process = process
        self._link = link
        self._frames = Frames()
        self._backlog = bytearray()
        self._later = bytearray()
        self._writable = trio.Event()
        self._printed = ""
        self._print_seen = trio.Event()
        self._pidfd = _open_pidfd(process.pid)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def printed(self) -> str:
        """The end of what the process itself printed: last words, tracebacks of a crash."""
        return self._printed

    def send(self, message: Mapping[str, object]) -> None:
        """Send a message, or as much as goes at once: `write` does the rest. Never blocks.

        Raises `ProtocolError` for a message that is too large. That the process is gone is for
        `receive` to find.
        """
        frame = bytes(self._later) + pack(message)
        self._later.clear()
        if not self._backlog:
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
        while True:
            await trio.lowlevel.wait_readable(self._link)
            try:
                data = self._link.recv(RECEIVED)
            except BlockingIOError:
                continue
            except ConnectionError:
                return []
            messages = self._frames.feed(data)
            if messages or not data:
                return messages

    async def listen(self) -> None:
        """Keep the end of what the process prints, until it has closed its output."""
        stream = self._process.stdout
        assert stream is not None  # noqa: S101 - asked for when it was started
        while data := await stream.receive_some(RECEIVED // 4):
            text = data.decode("utf-8", "replace")
            logger.debug("the plugin host printed: %s", text[:FLOOD])
            self._printed = (self._printed + text)[-PRINTED:]
            self._print_seen.set()
            self._print_seen = trio.Event()
            if len(data) > FLOOD:
                await trio.sleep(FLOOD_PAUSE)

    async def exited(self) -> None:
        """Wait for the end of the process. Its group can still be signalled then."""
        if self._pidfd is None:
            await self._process.wait()
        else:
            await trio.lowlevel.wait_readable(self._pidfd)

    async def where_is(self, thread: int) -> str:
        """Where in its code a thread is, innermost first; empty when it cannot be had.

        Works while a plugin holds the interpreter lock. Needs `listen` to run.
        """
        self._printed = ""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGUSR1)
        with trio.move_on_after(TRACE_TIME):
            while not (lines := _find_trace(self._printed, thread)):
                await self._print_seen.wait()
            return lines
        return ""

    def thread(self, native_id: int) -> tuple[float, bool]:
        """Seconds of processor time a thread has used, and whether it wants processor or disk.

        Nothing where the system does not say.
        """
        try:
            stat = Path(f"/proc/{self.pid}/task/{native_id}/stat").read_text(encoding="ascii")
            fields = stat.rpartition(")")[2].split()
            used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            return used, fields[0] in "RD"
        except (OSError, ValueError, IndexError):
            return 0.0, False

    def resident(self) -> int:
        """Bytes of memory it has; 0 where the system does not say."""
        try:
            statm = Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii")
            return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError, IndexError):
            return 0

    async def end(self) -> None:
        """Kill and reap it and what it has started; returns within `REAP_TIME`."""
        with trio.CancelScope(shield=True):
            # The group exists as long as its leader is not reaped, so the number is still ours.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            with trio.move_on_after(REAP_TIME) as reaping:
                await self._process.wait()
            if reaping.cancelled_caught:
                logger.error("plugin host %d cannot be killed", self.pid)
            if self._pidfd is not None:
                trio.lowlevel.notify_closing(self._pidfd)
                os.close(self._pidfd)
            if self._process.stdout is not None:
                await self._process.stdout.aclose()

    def how_it_ended(self) -> str:
        """For people: the exit code or signal, once it has ended."""
        code = self._process.returncode
        if code is None:
            return "does not end"
        if code >= 0:
            return f"exit code {code}"
        try:
            return f"signal {signal.Signals(-code).name}"
        except ValueError:
            return f"signal {-code}"


def _open_pidfd(pid: int) -> int | None:
    """A descriptor of the process, None where the system has none to give."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def _find_trace(printed: str, thread: int) -> str:
    """The lines of one thread in a dump of all of them, once the dump is past it."""
    _, found, rest = printed.partition(f"hread 0x{thread:016x} (most recent call first):\n")
    if not found:
        return ""
    lines: list[str] = []
    for line in rest.splitlines(keepends=True):
        if not line.endswith("\n"):
            break
        if not line.startswith("  "):
            return "".join(lines)
        lines.append(line)
    # The last thread of a dump has nothing behind it: its outermost frame is ours, and known.
    return "".join(lines) if lines and "_bootstrap\n" in lines[-1] else ""


@asynccontextmanager
async def open_host_process() -> AsyncIterator[HostProcess]:
    """Start a plugin host; leaving ends it with all it has started, whatever state it is in.

    Raises `PluginError` when it cannot be started. `write` and `listen` must be run by the caller.
    """
    ours, theirs = socket.socketpair()
    theirs_of_line, ours_of_line = os.pipe()
    try:
        ours.setblocking(False)
        try:
            # No checkpoint from here to `yield`: it either raises or the process is ours to end.
            process = await trio.lowlevel.open_process(
                [
                    sys.executable,
                    "-P",  # the folder we were started in is no place to import from
                    "-m",
                    "trio_afrender.plugins.host",
                    str(theirs.fileno()),
                    str(theirs_of_line),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(), theirs_of_line),
                start_new_session=True,
                env=clean_environment(os.environ),
            )
        except OSError as error:
            raise PluginError(f"the plugin host cannot be started: {error}") from error
        finally:
            theirs.close()
            os.close(theirs_of_line)
        host = HostProcess(process, ours)
        try:
            yield host
        finally:
            await host.end()
    finally:
        trio.lowlevel.notify_closing(ours)
        ours.close()
        os.close(ours_of_line)

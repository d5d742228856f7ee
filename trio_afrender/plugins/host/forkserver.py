"""The template of plugin hosts as a process: starts it, has it fork hosts and reap them."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import attrs
import trio

from trio_afrender.errors import PluginError, ProtocolError
from trio_afrender.plugins.host.host_protocol import PluginFrameReader, pack
from trio_afrender.process.environment import clean_environment
from trio_afrender.process.oom_score import unprotecting

__all__ = ("ForkServer", "ForkServers", "describe_end", "open_forkserver")

logger = logging.getLogger(__name__)

RECEIVE_SIZE = 64 * 1024
MAX_PRINTED_TAIL = 16 * 1024
"""Characters kept of what it printed: why it cannot start."""
END_TIMEOUT = 5.0
"""Seconds that it, and the hosts it has forked, may take to end once they were killed."""


@attrs.define(eq=False)
class _PendingFork:
    """An answer that is waited for."""

    done: trio.Event = attrs.field(factory=trio.Event)
    answer: dict[str, object] | None = None
    """None when the template is gone."""
    abandoned: bool = False


class ForkServer:
    """Made by `open_template`, which also ends it."""

    def __init__(self, process: trio.Process, control: socket.socket) -> None:
        self.gone = trio.Event()
        """Set when it answers no more."""
        self._process = process
        self._control = control
        self._numbers = count(1)
        self._forks: dict[int, _PendingFork] = {}
        self._reaps: dict[int, _PendingFork] = {}
        self._hosts: set[int] = set()
        self._empty = trio.Event()
        self._sending = trio.Lock()
        self._frames = PluginFrameReader()
        self._printed = ""

    @property
    def pid(self) -> int:
        return self._process.pid

    async def fork(self, *fds: int) -> int:
        """Have a host forked that gets these descriptors; return its pid. Raises `PluginError`.

        Whoever gets a pid must kill it and have it reaped. Cancelled, that is done here.
        """
        async with self._sending:
            # Descriptors come beside the bytes: one request at a time, so that none are mixed up.
            number, wish = next(self._numbers), _PendingFork()
            self._forks[number] = wish
            try:
                await self._send(pack({"op": "fork", "id": number}), *fds)
                await wish.done.wait()
            except trio.Cancelled:
                wish.abandoned = True
                if wish.answer is not None and isinstance(pid := wish.answer.get("pid"), int):
                    self._end_now(pid)
                raise
        if wish.answer is None:
            raise PluginError(await self._how_it_ended())
        pid = wish.answer.get("pid")
        if not isinstance(pid, int):
            raise PluginError(f"it cannot be forked: {wish.answer.get('error')}")
        return pid

    async def reap(self, pid: int) -> int | None:
        """Wait for a killed host's end; its raw wait status, None when nobody can tell any more."""
        if self.gone.is_set():
            await trio.lowlevel.checkpoint()
            return _reap_orphan(pid)
        wish = self._reaps.setdefault(pid, _PendingFork())
        await self._send(pack({"op": "reap", "pid": pid}))
        await wish.done.wait()
        if wish.answer is None:
            return _reap_orphan(pid)
        status = wish.answer.get("status")
        return status if isinstance(status, int) else None

    async def run(self) -> None:
        """Take answers until it is gone."""
        try:
            while messages := await self._receive():
                for message in messages:
                    self._take(message)
        except ProtocolError as error:
            logger.warning("the template of plugin hosts answered nonsense: %s", error)
        self.gone.set()
        for wish in (*self._forks.values(), *self._reaps.values()):
            wish.done.set()
        self._hosts.clear()
        self._empty.set()

    async def listen(self) -> None:
        """Keep the end of what it prints, until it has closed its output."""
        stream = self._process.stdout
        assert stream is not None  # noqa: S101 - asked for when it was started
        while data := await stream.receive_some(RECEIVE_SIZE):
            self._printed = (self._printed + data.decode("utf-8", "replace"))[-MAX_PRINTED_TAIL:]

    async def end(self) -> None:
        """Wait until its hosts are reaped, then kill and reap it. Takes at most `END_TIME` twice."""
        with trio.move_on_after(END_TIMEOUT):
            while self._hosts:
                await self._empty.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with trio.move_on_after(END_TIMEOUT) as reaping:
            await self._process.wait()
        if reaping.cancelled_caught:
            logger.error("the template of plugin hosts, %d, cannot be killed", self.pid)

    def _take(self, message: dict[str, object]) -> None:
        """One message. There is no plugin at the other end: what comes is as it should be."""
        match message:
            case {"reaped": int(pid)}:
                wish = self._reaps.pop(pid, _PendingFork())
                self._hosts.discard(pid)
                if not self._hosts:
                    self._empty.set()
            case {"id": int(number)}:
                wish = self._forks.pop(number)
                if isinstance(made := message.get("pid"), int):
                    self._hosts.add(made)
                    if self._empty.is_set():  # else somebody may be waiting for this one
                        self._empty = trio.Event()
                    if wish.abandoned:
                        self._end_now(made)
            case _:
                raise ProtocolError("a message of no kind")
        wish.answer = message
        wish.done.set()

    def _end_now(self, pid: int) -> None:
        """End a host that nobody waits for."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            self._control.send(pack({"op": "reap", "pid": pid}))

    async def _send(self, frame: bytes, *fds: int) -> None:
        """All of a small frame at once; that it is gone is for `run` to find."""
        while True:
            try:
                socket.send_fds(self._control, [frame], list(fds))
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._control)
            except OSError as error:
                if error.errno not in (errno.EPIPE, errno.ECONNRESET):
                    raise
                return
            else:
                return

    async def _receive(self) -> list[dict[str, object]]:
        while True:
            await trio.lowlevel.wait_readable(self._control)
            try:
                data = self._control.recv(RECEIVE_SIZE)
            except BlockingIOError:
                continue
            except ConnectionError:
                return []
            messages = self._frames.feed(data)
            if messages or not data:
                return messages

    async def _how_it_ended(self) -> str:
        with trio.move_on_after(END_TIMEOUT):
            await self._process.wait()
        code = self._process.returncode
        said = f": {self._printed.strip()}" if self._printed.strip() else ""
        return f"it died ({describe_end(code)}){said}"


def describe_end(code: int | None) -> str:
    """For people: an exit code, or the signal that a negative one stands for."""
    if code is None:
        return "does not end"
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _reap_orphan(pid: int) -> int | None:
    """Reap a host whose template is gone, if it has become our child."""
    with contextlib.suppress(ChildProcessError):
        ended, status = os.waitpid(pid, os.WNOHANG)
        return status if ended else None
    return None


class ForkServers:
    """The template for all who have hosts forked: started when the first of them wants it."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._template: ForkServer | None = None
        self._making = trio.Lock()

    async def get(self) -> ForkServer:
        """The template. Raises `PluginError` when it cannot be started."""
        async with self._making:
            if self._template is None or self._template.gone.is_set():
                self._template = await self._nursery.start(self._keep)
            return self._template

    @staticmethod
    async def _keep(task_status: trio.TaskStatus[ForkServer]) -> None:
        async with open_forkserver() as template:
            task_status.started(template)
            await template.gone.wait()


@asynccontextmanager
async def open_forkserver() -> AsyncIterator[ForkServer]:
    """Start a template; leaving ends it, after the hosts it has forked were ended by their owners.

    Raises `PluginError` when it cannot be started.
    """
    ours, theirs = socket.socketpair()
    theirs_of_line, ours_of_line = os.pipe()
    try:
        ours.setblocking(False)
        process = await _start(theirs, theirs_of_line)
        template = ForkServer(process, ours)
        serving = trio.CancelScope(shield=True)  # until the last host is reaped
        assert process.stdout is not None  # noqa: S101 - asked for when it was started
        async with process.stdout, trio.open_nursery() as nursery:
            nursery.start_soon(_serve, template, serving)
            try:
                yield template
            finally:
                with trio.CancelScope(shield=True):
                    await template.end()
                serving.cancel()
    finally:
        trio.lowlevel.notify_closing(ours)
        ours.close()
        os.close(ours_of_line)


async def _serve(template: ForkServer, serving: trio.CancelScope) -> None:
    with serving:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(template.listen)
            nursery.start_soon(template.run)


async def _start(theirs: socket.socket, lifeline: int) -> trio.Process:
    """The process, with its ends of the socket and the lifeline, which are closed here."""
    try:
        return await trio.lowlevel.open_process(
            [
                *unprotecting(),  # a plugin that takes all memory is to be killed before the agent
                sys.executable,
                "-P",  # the folder we were started in is no place to import from
                "-m",
                "trio_afrender.plugins.host.forkserver_main",
                str(theirs.fileno()),
                str(lifeline),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(theirs.fileno(), lifeline),
            start_new_session=True,
            env=clean_environment(os.environ),
        )
    except OSError as error:
        raise PluginError(f"it cannot be started: {error}") from error
    finally:
        theirs.close()
        os.close(lifeline)

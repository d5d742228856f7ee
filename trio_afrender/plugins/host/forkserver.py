"""The agent's end of the fork server: starts it, has it fork and reap plugin hosts."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from itertools import count

import attrs
import trio

from trio_afrender.errors import PluginError, ProtocolError, is_exhausted
from trio_afrender.plugins.host.host_protocol import PluginFrameReader, pack
from trio_afrender.process.environment import clean_environment
from trio_afrender.process.oom_score import unprotecting
from trio_afrender.process.procfs import continue_stopped

__all__ = (
    "EXHAUSTED_PAUSE",
    "ForkServer",
    "ForkServers",
    "describe_end",
    "make_links",
    "receive_messages",
    "run_forkserver",
)

logger: logging.Logger = logging.getLogger(__name__)

RECEIVE_SIZE = 64 * 1024
MAX_PRINTED_TAIL = 16 * 1024
"""Characters kept of what it printed: why it cannot start."""
WATCH_INTERVAL = 5.0
"""Seconds between two looks whether a plugin process was stopped by a signal."""
EXHAUSTED_PAUSE = 0.05
"""Seconds before another try where the kernel has no memory for a message."""
END_TIMEOUT = 5.0
"""Seconds that it, and the hosts it has forked, may take to end once they were killed."""


@attrs.define(eq=False)
class _PendingFork:
    """A reply that is waited for."""

    done: trio.Event = attrs.field(factory=trio.Event)
    answer: dict[str, object] | None = None
    """None when the fork server has ended."""
    abandoned: bool = False


class ForkServer:
    """A running fork server. Made by `run_forkserver`, which also ends it."""

    def __init__(self, process: trio.Process, control: socket.socket) -> None:
        self.gone: trio.Event = trio.Event()
        """Set when it does not answer any more."""
        self._process = process
        self._control = control
        self._numbers = count(1)
        self._forks: dict[int, _PendingFork] = {}  # by number: a request has no pid yet
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

        The caller kills the host and has it reaped. When this is cancelled, that is done here.
        """
        async with self._sending:
            # The kernel delivers descriptors beside the bytes: one request at a time, or they are mixed up.
            number, pending = next(self._numbers), _PendingFork()
            self._forks[number] = pending
            try:
                continue_stopped(self.pid)
                await self._send(pack({"op": "fork", "id": number}), *fds)
                await pending.done.wait()
            except trio.Cancelled:
                # Nothing else knows the process. It may not be forked yet: then `_take` ends it.
                pending.abandoned = True
                if pending.answer is not None and isinstance(pid := pending.answer.get("pid"), int):
                    self._end_now(pid)
                raise
        if pending.answer is None:
            with trio.move_on_after(END_TIMEOUT):
                await self._process.wait()
            printed = f": {self._printed.strip()}" if self._printed.strip() else ""
            raise PluginError(f"it died ({describe_end(self._process.returncode)}){printed}")
        pid = pending.answer.get("pid")
        if not isinstance(pid, int):
            refused = pending.answer.get("errno")
            reason = OSError(refused if isinstance(refused, int) else 0, "fork")
            raise PluginError(f"it cannot be forked: {pending.answer.get('error')}") from reason
        return pid

    async def reap(self, pid: int) -> int | None:
        """Wait for a killed host's end; its raw wait status, None when it is not known."""
        if self.gone.is_set():  # the kernel has given its children to the next subreaper
            await trio.lowlevel.checkpoint()
            return _reap_orphan(pid)
        pending = self._reaps.setdefault(pid, _PendingFork())
        await self._send(pack({"op": "reap", "pid": pid}))
        await pending.done.wait()
        if pending.answer is None:
            return _reap_orphan(pid)
        status = pending.answer.get("status")
        return status if isinstance(status, int) else None

    async def run(self) -> None:
        """Handle replies until the process has ended."""
        try:
            while messages := await receive_messages(self._control, self._frames, RECEIVE_SIZE):
                for message in messages:
                    self._take(message)
        except ProtocolError as error:
            logger.warning("the fork server of plugin hosts sent an invalid message: %s", error)
        # Set first: what the waiting tasks do next must not be sent to this process.
        self.gone.set()
        for pending in (*self._forks.values(), *self._reaps.values()):
            pending.done.set()
        self._hosts.clear()
        self._empty.set()

    async def listen(self) -> None:
        """Keep the end of what it prints, until it has closed its output."""
        stream = self._process.stdout
        assert stream is not None  # noqa: S101 - asked for when it was started
        while data := await stream.receive_some(RECEIVE_SIZE):
            self._printed = (self._printed + data.decode("utf-8", "replace"))[-MAX_PRINTED_TAIL:]

    async def watch(self) -> None:
        """Continue what a signal has stopped, this process and its hosts, until cancelled."""
        # A host that is stopped gets no processor time, so its calls would have three times their
        # limit (`host.SLOW_CALL_FACTOR`).
        while True:
            # At multiples of the interval, at which the agent wakes up anyway for its measurements.
            await trio.sleep(WATCH_INTERVAL - trio.current_time() % WATCH_INTERVAL)
            for pid in (self.pid, *self._hosts):
                if continue_stopped(pid):
                    logger.warning("plugin process %d was stopped: continued", pid)

    async def end(self) -> None:
        """Wait until its hosts are reaped, then kill and reap it. Takes at most twice `END_TIMEOUT`."""
        # A zombie's number is free once it is reaped. Killed earlier, the fork server would leave its
        # hosts to a parent that may reap them while the agent still signals them.
        with trio.move_on_after(END_TIMEOUT):
            while self._hosts:
                await self._empty.wait()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with trio.move_on_after(END_TIMEOUT) as reaping:
            await self._process.wait()
        if reaping.cancelled_caught:
            logger.error("the fork server of plugin hosts, %d, cannot be killed", self.pid)

    def _take(self, message: dict[str, object]) -> None:
        """Handle one message. No plugin runs in the fork server, so its messages are not checked."""
        match message:
            case {"reaped": int(pid)}:
                pending = self._reaps.pop(pid, _PendingFork())
                self._hosts.discard(pid)
                if not self._hosts:
                    self._empty.set()
            case {"id": int(number)}:
                pending = self._forks.pop(number)
                if isinstance(made := message.get("pid"), int):
                    self._hosts.add(made)
                    if self._empty.is_set():  # else `end` may be waiting for this one
                        self._empty = trio.Event()
                    if pending.abandoned:
                        self._end_now(made)
            case _:
                raise ProtocolError("a message of no kind")
        pending.answer = message
        pending.done.set()

    def _end_now(self, pid: int) -> None:
        """End a host whose `fork` was cancelled."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        # Without waiting, because the caller is cancelled. If the socket's buffer is full, the zombie
        # stays until the fork server ends.
        with contextlib.suppress(OSError):
            self._control.send(pack({"op": "reap", "pid": pid}))

    async def _send(self, frame: bytes, *fds: int) -> None:
        """Send a small frame whole. A process that has ended is noticed by `run`."""
        while True:
            try:
                socket.send_fds(self._control, [frame], list(fds))
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._control)
            except ConnectionError:
                return
            except OSError as error:
                if not is_exhausted(error):
                    raise
                await trio.sleep(EXHAUSTED_PAUSE)
            else:
                return


async def receive_messages(
    link: socket.socket, frames: PluginFrameReader, size: int
) -> list[dict[str, object]]:
    """The next messages of a socket, read `size` bytes at a time; empty at its end.

    Raises `ProtocolError` for anything but frames.
    """
    while True:
        await trio.lowlevel.wait_readable(link)
        try:
            data = link.recv(size)
        except ConnectionError:
            return []  # the process was killed before it had read all requests: its end, too
        except OSError as error:
            if not is_exhausted(error):
                raise
            if not isinstance(error, BlockingIOError):
                await trio.sleep(EXHAUSTED_PAUSE)
            continue
        messages = list(frames.feed(data))
        if messages or not data:
            return messages


def make_links(count: int) -> tuple[socket.socket, socket.socket, list[tuple[int, int]]]:
    """Make a pair of sockets and `count` pipes, all or none; the caller closes them. Raises `OSError`."""
    with ExitStack() as stack:
        ours, theirs = socket.socketpair()
        stack.callback(ours.close)
        stack.callback(theirs.close)
        pipes = []
        for _ in range(count):
            pipes.append(os.pipe())
            stack.callback(os.close, pipes[-1][0])
            stack.callback(os.close, pipes[-1][1])
        stack.pop_all()
    return ours, theirs, pipes


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
    """Reap a host whose fork server has ended, if it has become our child."""
    with contextlib.suppress(ChildProcessError):
        ended, status = os.waitpid(pid, os.WNOHANG)
        return status if ended else None
    return None


class ForkServers:
    """The fork server of one agent, started at the first request and again when it has ended."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._server: ForkServer | None = None
        self._making = trio.Lock()

    async def get(self) -> ForkServer:
        """The running fork server. Raises `PluginError` when it cannot be started."""
        async with self._making:
            if self._server is None or self._server.gone.is_set():
                self._server = await self._nursery.start(run_forkserver)
            return self._server


async def run_forkserver(*, task_status: trio.TaskStatus[ForkServer]) -> None:
    """Run a fork server until it has ended or this is cancelled; end it after all its hosts are reaped.

    To be started with `nursery.start`, which returns the `ForkServer` and raises `PluginError` when it
    cannot be started.
    """
    ours, theirs, ((their_pipe, our_pipe),) = make_links(1)
    try:
        ours.setblocking(False)
        try:
            process = await trio.lowlevel.open_process(
                [
                    *unprotecting(),  # a plugin that takes all memory must be killed before the agent
                    sys.executable,
                    "-P",  # nothing is imported from the folder in which the agent was started
                    "-m",
                    "trio_afrender.plugins.host.forkserver_main",
                    str(theirs.fileno()),
                    str(their_pipe),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(), their_pipe),
                start_new_session=True,  # Ctrl+C is for the agent, which ends its hosts itself
                env=clean_environment(os.environ),
            )
        except OSError as error:
            raise PluginError(f"it cannot be started: {error}") from error
        finally:
            theirs.close()
            os.close(their_pipe)
        server = ForkServer(process, ours)
        serving = trio.CancelScope(shield=True)  # until the last host is reaped
        assert process.stdout is not None  # noqa: S101 - asked for when it was started
        async with process.stdout, trio.open_nursery() as nursery:
            nursery.start_soon(_serve, server, serving)
            try:
                task_status.started(server)
                await server.gone.wait()
            finally:
                with trio.CancelScope(shield=True):
                    await server.end()
                serving.cancel()
    finally:
        trio.lowlevel.notify_closing(ours)
        ours.close()
        os.close(our_pipe)


async def _serve(server: ForkServer, serving: trio.CancelScope) -> None:
    with serving:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.listen)
            nursery.start_soon(server.watch)
            nursery.start_soon(server.run)

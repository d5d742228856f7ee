"""A process tree that is a job object: no member leaves it, and its count proves its end.

TERM has no equivalent on Windows. It is a request by three ways, of which a program needs to know one: a
WM_CLOSE to each window of the tree, a CTRL_BREAK to its process group where both share a console, and the
stop file, which the run has written before. KILL is `TerminateJobObject`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, final

import trio

from trio_afrender.process.interfaces import ClosedWindow, ExitStatus, FinalUsage, TreeSignal
from trio_afrender.process.windows.code_page_text import CodePageText
from trio_afrender.process.windows.win32 import MSG_LIMIT, StartedProcess, Win32
from trio_afrender.tasklog.interfaces import RunLog
from trio_afrender.tasklog.io_threads import call_in_thread, work_in_thread
from trio_afrender.tasklog.supervised_log import SupervisedLog
from trio_afrender.tasklog.writer import SegmentWriter

__all__ = ("JobOutput", "JobTree", "make_exit_status")

KILL_CODE, TERM_CODE = 9, 15
KILLED = 0x41460000 | KILL_CODE
"""The exit code of members that this agent ends: no program ends so by itself."""
BREAK_ENDED = 0xC000013A
"""The exit code of a program that CTRL_BREAK or CTRL_C ended, because it has no handler."""
COUNT_INTERVAL = 0.25
"""Seconds between two counts of the members. Windows does not promise the message of the last end."""
OUTSIDERS_INTERVAL = 0.05
"""Seconds between two looks for processes outside of the job, while there are some."""
MAX_WINDOWS = 100
READ_SIZE = 256 * 1024
CONSOLE_HOST = "conhost.exe"
_LOWLEVEL: Mapping[str, Any] = vars(trio.lowlevel)
"""By name, because trio has what is used of it on Windows alone."""


def make_exit_status(code: int) -> ExitStatus:
    """Return the status of a leader that ended with this code."""
    signal = {KILLED: KILL_CODE, BREAK_ENDED: TERM_CODE}.get(code)
    if signal is not None:
        return ExitStatus(code=None, signal=signal, raw=signal)
    return ExitStatus(code=code, signal=None, raw=code << 8)


@final
class JobTree:
    """A `ProcessTree`. Made by `JobTrees`, which has assigned the leader to the job."""

    def __init__(
        self,
        win32: Win32,
        started: StartedProcess,
        job: int,
        output: JobOutput,
        *,
        end_outsiders: Callable[[], Awaitable[tuple[int, ...]]],
        on_reaped: Callable[[], object],
    ) -> None:
        """`end_outsiders` ends what the tree has outside of its job; it returns the pids that it found."""
        self._win32 = win32
        self._leader = started
        self._job = job
        """0 once it is closed."""
        self._output = output
        self._status: ExitStatus | None = None
        self._usage: FinalUsage | None = None
        self._changed = trio.Event()
        self._reaping = trio.Lock()
        self._refused = 0
        self.closed_windows: trio.MemoryReceiveChannel[ClosedWindow]
        self._windows, self.closed_windows = trio.open_memory_channel[ClosedWindow](MAX_WINDOWS)
        self._end_outsiders = end_outsiders
        self._on_reaped = on_reaped

    @property
    def pid(self) -> int:
        return self._leader.pid

    @property
    def output(self) -> JobOutput:
        return self._output

    started: float | None = None
    suspended = False
    external_stop_reason = ""
    left_nothing = False

    @property
    def final_usage(self) -> FinalUsage | None:
        return self._usage

    def note(self, message: int) -> None:
        """Take a message of the job: a member has started or ended, or was refused."""
        self._refused += message == MSG_LIMIT
        self._changed.set()
        self._changed = trio.Event()

    def note_window(self, window: ClosedWindow) -> None:
        """Pass on that a window of a member was asked to close. More than `MAX_WINDOWS` are dropped."""
        with suppress(trio.WouldBlock, trio.BrokenResourceError):
            self._windows.send_nowait(window)

    async def exited(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._status is None and self._win32.exit_code(self._leader.process) is None:
            await _LOWLEVEL["WaitForSingleObject"](self._leader.process)

    def living(self) -> tuple[int, ...]:
        """Return the pids of the members, the leader's first, without what serves their console."""
        if not self._job:
            return ()
        pids = set(self._win32.list_members(self._job))
        if self._win32.exit_code(self._leader.process) is not None:
            pids.discard(self.pid)
        hosts = {
            pid
            for pid in pids - {self.pid}
            if self._win32.image_name(pid).lower().endswith(f"\\{CONSOLE_HOST}")
        }
        return tuple(sorted(pids - hosts, key=lambda pid: (pid != self.pid, pid)))

    async def members(self) -> tuple[int, ...]:
        await trio.lowlevel.checkpoint()
        return self.living()

    async def wait_empty(self) -> None:
        await trio.lowlevel.checkpoint()
        while self.living():
            with trio.move_on_after(COUNT_INTERVAL):
                await self._changed.wait()

    async def signal_tree(self, signal: TreeSignal) -> tuple[int, ...]:
        await trio.lowlevel.checkpoint()
        pids = self.living()
        if not pids:
            return ()
        if signal is TreeSignal.KILL:
            self._kill()
            return pids
        for pid in pids:
            # Resumed for TERM too: a suspended program reads no request, as with SIGTERM.
            self._win32.suspend(pid, resume=signal is not TreeSignal.SUSPEND)
        if signal is TreeSignal.TERM:
            await call_in_thread(partial(self._request_end, pids), abandon=True)
        return pids

    def _request_end(self, pids: tuple[int, ...]) -> None:
        members = frozenset(pids)
        for window in self._win32.list_windows():
            if window.pid in members:
                self._win32.post_close(window.handle)
        self._win32.send_break(self.pid)

    def _kill(self) -> None:
        # It fails for a job whose last member is ending, which is what was wanted.
        with suppress(OSError):
            self._win32.terminate_job(self._job, KILLED)

    async def kill_until_empty(self, deadline: float) -> tuple[int, ...]:
        await trio.lowlevel.checkpoint()
        outside: tuple[int, ...] = ()
        with trio.move_on_after(deadline):
            # The count has also what `living` leaves out, as the hosts of consoles.
            while self.living() or (self._job and self._win32.read_usage(self._job).active):
                self._kill()
                with trio.move_on_after(COUNT_INTERVAL):
                    await self._changed.wait()
            # After the job: no member is left that could have another one made.
            while self._job:
                outside = await self._end_outsiders()
                if not outside:
                    break
                await trio.sleep(OUTSIDERS_INTERVAL)
        return (*self.living(), *outside)

    async def reap(self) -> ExitStatus:
        await self.exited()
        async with self._reaping:
            if self._status is None:
                code = self._win32.exit_code(self._leader.process)
                self._status = make_exit_status(code or 0)
                with suppress(OSError):
                    used = self._win32.read_usage(self._job)
                    # Wine counts nothing: no figure instead of a wrong one.
                    if used.cpu or used.peak:
                        self._usage = FinalUsage(
                            cpu=used.cpu, peak=used.peak, refused_forks=self._refused
                        )
                job, self._job = self._job, 0
                # The members that are left, if any, end with the last handle of the job.
                self._win32.close(job)
                self._win32.close(self._leader.process)
                self._on_reaped()
        return self._status

    async def detach(self) -> bool:
        # The job ends with its last handle, which is this process's.
        await trio.lowlevel.checkpoint()
        return False


@final
class JobOutput:
    """The pipe of a tree, whose output the agent itself writes to the log on disk, in UTF-8."""

    def __init__(self, win32: Win32, reading: int, writer: SegmentWriter | None) -> None:
        """`reading` is 0, and `writer` None, for a tree that prints on the agent's own stdout."""
        self._win32 = win32
        self._reading = reading
        self._writer = writer
        self._text = CodePageText(win32.output_code_page)
        self._closed = False
        self._pumping: trio.CancelScope | None = None
        if reading:
            _LOWLEVEL["register_with_iocp"](reading)

    async def pump(self, log: RunLog) -> None:
        """Write what comes through the pipe to the log on disk, and report its size to `log`.

        Raises `TypeError` for a log that is not on disk, and `trio.ClosedResourceError` after `aclose`.
        """
        if not isinstance(log, SupervisedLog):
            raise TypeError("trees on Windows write logs on disk only")
        await trio.lowlevel.checkpoint()
        with trio.CancelScope() as scope:
            self._pumping = scope
            buffer = bytearray(READ_SIZE)
            while self._reading and not self._closed and self._writer is not None:
                try:
                    count = await _LOWLEVEL["readinto_overlapped"](self._reading, buffer)
                except BrokenPipeError:  # the last writer has closed it
                    count = 0
                if not count:
                    await self._finish(log)
                    break
                if data := self._text.feed(bytes(buffer[:count])):
                    await self._store(log, data)
        self._pumping = None
        if self._closed:
            if scope.cancelled_caught:
                await self._finish(log)
            raise trio.ClosedResourceError("this pipe has been closed")

    async def _store(self, log: SupervisedLog, data: bytes) -> None:
        writer = self._writer
        assert writer is not None  # noqa: S101 - `pump` has looked
        # Shielded: the bytes are out of the pipe.
        with trio.CancelScope(shield=True):
            await work_in_thread(partial(writer.append, data))
        log.follow(writer.state.size, writer.state.lost, writer.disk_error)

    async def _finish(self, log: SupervisedLog) -> None:
        writer = self._writer
        assert writer is not None  # noqa: S101 - as above
        if rest := self._text.finish():
            await self._store(log, rest)
        with trio.CancelScope(shield=True):
            held = writer.state.held
            await work_in_thread(writer.close)
        state = writer.state
        log.follow(state.size, state.lost, writer.disk_error)
        if state.lost:
            log.hold(held, state.ranges)
        self._close_pipe()

    async def aclose(self) -> None:
        self._closed = True
        if self._pumping is not None:
            self._pumping.cancel()
        elif self._writer is not None:
            with trio.CancelScope(shield=True):
                if rest := self._text.finish():
                    await work_in_thread(partial(self._writer.append, rest))
                await work_in_thread(self._writer.close)
        self._close_pipe()
        await trio.lowlevel.checkpoint()

    def _close_pipe(self) -> None:
        reading, self._reading = self._reading, 0
        if reading:
            self._win32.close(reading)

"""Starts trees as job objects, for one store, and receives the messages of their jobs.

There is no supervisor here: the trees end with the agent, whose handles of their jobs are the only ones. So
nothing of an earlier agent can be left, and nothing is taken over.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import final

import psutil
import trio

from trio_afrender.async_helpers import open_bare_nursery
from trio_afrender.errors import SpawnError, StoreError
from trio_afrender.process.interfaces import Launch
from trio_afrender.process.launch_errors import check_launch, explain_launch_error
from trio_afrender.process.windows.command_line import make_command_line
from trio_afrender.process.windows.job_tree import KILLED, JobOutput, JobTree
from trio_afrender.process.windows.marked_processes import MARKER, MarkedProcesses
from trio_afrender.process.windows.win32 import NO_WINDOW, StartedProcess, Win32, calls
from trio_afrender.process.windows.window_closer import WindowCloser
from trio_afrender.supervisor.run_folders import make_folders, remove_folders
from trio_afrender.tasklog.io_threads import call_in_thread, work_in_thread
from trio_afrender.tasklog.writer import MAX_HELD, SEGMENT_SIZE, SegmentWriter, open_writer
from trio_afrender.user_switch import CAPABILITIES

__all__ = ("JobTrees", "open_job_trees", "priority_class")

logger: logging.Logger = logging.getLogger(__name__)

PIPE_SIZE = 1024 * 1024
"""Bytes that a program may print ahead of the agent."""
MAX_FOLDER = 258
"""Characters of the folder that a process starts in, also where long paths are on."""
END_MESSAGE = 0
"""A message with this number and no job ends the thread at the port."""

_numbers = count(1)


def priority_class(nice: int) -> int:
    """Return the priority class for a nice value, as Afanasy's render chooses it."""
    if nice > 10:
        return 0x40  # idle
    if nice > 0:
        return 0x4000  # below normal
    if nice < -10:
        return 0x80  # high
    return 0x8000 if nice < 0 else 0x20  # above normal, normal


@final
class JobTrees:
    """The trees of one agent. Made by `open_job_trees`."""

    def __init__(self, win32: Win32) -> None:
        self._win32 = win32
        self._port = win32.create_port()
        self.restarts = 0  # there is no supervisor
        self._trees: dict[int, JobTree] = {}
        """By the number under which a job's messages come."""
        self._marked = MarkedProcesses()
        self._searching = trio.Lock()

    @property
    def description(self) -> str:
        """What holds the trees, for the log."""
        return "tasks are held by job objects of this agent: they end with it"

    @property
    def trees(self) -> tuple[JobTree, ...]:
        """The trees that are not reaped."""
        return tuple(self._trees.values())

    @property
    def lacking(self) -> tuple[str, ...]:
        return tuple(CAPABILITIES)  # Windows has no users of that kind

    async def spawn(self, launch: Launch) -> JobTree:
        """Start a tree. Raises `SpawnError`, and `StoreError` if its folders cannot be made."""
        check_launch(launch)
        line = make_command_line(launch.argv)
        if len(launch.cwd) > MAX_FOLDER:
            text = f"has {len(launch.cwd)} characters, Windows takes {MAX_FOLDER}"
            raise SpawnError(f'the working folder "{launch.cwd}" {text}')
        folder = Path(launch.persistence.record).parent
        if launch.persistence.record:
            try:
                made = (str(folder), *launch.persistence.folders)
                await work_in_thread(partial(make_folders, made))
            except OSError as error:
                raise StoreError.of(folder, error) from error
        # Shielded: a cancelled call must not leave a process behind that nothing knows.
        try:
            with trio.CancelScope(shield=True):
                tree = await self._start(launch, line)
        except OSError as error:
            await call_in_thread(partial(_name_fault, launch, error))
            raise SpawnError(explain_launch_error(launch, error)) from error
        return tree

    async def _start(self, launch: Launch, line: str) -> JobTree:
        number = next(_numbers)
        with ExitStack() as stack:
            writer: SegmentWriter | None = None
            if not launch.console:
                folder, quota = Path(launch.persistence.log), launch.persistence.quota
                writer = await work_in_thread(
                    partial(open_writer, folder, quota=quota, segment=SEGMENT_SIZE, held=MAX_HELD)
                )
            start = partial(self._start_in_job, launch, line, number, stack)
            started, job, reading = await call_in_thread(start)
            output = JobOutput(self._win32, reading, writer)
            tree = JobTree(
                self._win32,
                started,
                job,
                output,
                end_outsiders=partial(self._end_outsiders, launch.environment[MARKER]),
                on_reaped=partial(self._trees.pop, number, None),
            )
            # Before the first thread runs: no message of the job may come to a tree that is not known.
            self._trees[number] = tree
            try:
                self._win32.resume_thread(started.thread)
            except OSError:
                del self._trees[number]
                raise
            stack.pop_all()
        self._win32.close(started.thread)
        return tree

    def _start_in_job(
        self, launch: Launch, line: str, number: int, stack: ExitStack
    ) -> tuple[StartedProcess, int, int]:
        """Start the leader, suspended and in its job; `stack` undoes it. Return it, the job, the pipe."""
        win32 = self._win32
        job = win32.create_job(processes=launch.processes)
        stack.callback(win32.close, job)
        win32.link_port(job, self._port, number)
        with ExitStack() as ours:
            nothing = win32.open_null()
            ours.callback(win32.close, nothing)
            reading = 0
            if launch.console:
                handles = (nothing, *win32.std_handles())
            else:
                name = rf"\\.\pipe\trio_afrender-{os.getpid()}-{number}"
                reading, writing = win32.create_pipe(name, PIPE_SIZE)
                stack.callback(win32.close, reading)
                ours.callback(win32.close, writing)
                handles = (nothing, writing, writing)
            # Without a console of its own, each console program would open one on the desktop.
            flags = priority_class(launch.nice) | (0 if win32.has_console else NO_WINDOW)
            started = win32.start(line, launch.cwd, launch.environment, handles, flags)
        try:
            win32.assign(job, started.process)
        except OSError:
            win32.terminate_process(started.process, KILLED)
            win32.close(started.thread)
            win32.close(started.process)
            raise
        stack.callback(win32.close, started.process)
        stack.callback(win32.terminate_job, job, KILLED)
        return started, job, reading

    async def _end_outsiders(self, marker: str) -> tuple[int, ...]:
        """End the processes with that marker that are in no job of this agent; return their pids."""
        try:
            async with self._searching:
                found = await call_in_thread(partial(self._marked.find, marker))
        except OSError as error:
            logger.warning("cannot look for processes outside of jobs: %s", error)
            return ()
        # Another tree of the same run has the same marker.
        members = {pid for tree in self.trees for pid in tree.living()} if found else ()
        outside = [process for process in found if process.pid not in members]
        for process in outside:
            logger.warning("pid %s is ended, a task had it made outside of its job", process.pid)
            with suppress(psutil.Error):
                process.kill()
        return tuple(process.pid for process in outside)

    async def remove_folders(self, folders: Sequence[Path]) -> None:
        """Remove the folders of ended runs. Raises nothing."""
        await work_in_thread(partial(remove_folders, [str(folder) for folder in folders]))

    def _receive(self, token: trio.lowlevel.TrioToken) -> None:
        """Pass on the messages of all jobs until the one that ends it. Runs in a thread."""
        # Not trio's own port: trio fails when a job sends a message to a key that it does not know.
        while True:
            message, number = self._win32.wait_message(self._port)
            if not number:
                return
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(self._note, number, message)

    def _note(self, number: int, message: int) -> None:
        if (tree := self._trees.get(number)) is not None:
            tree.note(message)

    async def run(self) -> None:
        """Receive messages until `end`."""
        receive = partial(self._receive, trio.lowlevel.current_trio_token())
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(receive, limiter=trio.CapacityLimiter(1))
        self._win32.close(self._port)

    async def close_windows(self, titles: Sequence[str], scope: trio.CancelScope) -> None:
        """Close windows until the scope is cancelled."""
        with scope:
            await WindowCloser(titles, lambda: self.trees, self._win32).run()

    def end(self) -> None:
        """Have `run` return."""
        self._win32.post_message(self._port, END_MESSAGE, 0)


def _name_fault(launch: Launch, error: OSError) -> None:
    """Set the filename of a start's error to what is wrong, which Windows does not say."""
    # 267: "the directory name is invalid"; the same for a folder that is missing and for a file.
    if not os.path.isdir(launch.cwd):  # noqa: PTH112 - a text
        error.errno = errno.ENOTDIR if os.path.exists(launch.cwd) else errno.ENOENT  # noqa: PTH110
        error.filename = launch.cwd


@asynccontextmanager
async def open_job_trees(titles: Sequence[str] = ()) -> AsyncIterator[JobTrees]:
    """Open the holder of trees. Leaving ends nothing: the caller of `spawn` reaps each tree.

    Windows with one of the `titles` are closed meanwhile (`window_closer`).
    """
    trees = JobTrees(calls())
    async with open_bare_nursery() as nursery:
        nursery.start_soon(trees.run)
        closing = trio.CancelScope()
        nursery.start_soon(trees.close_windows, titles, closing)
        try:
            yield trees
        finally:
            closing.cancel()
            trees.end()

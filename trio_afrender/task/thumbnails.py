"""Thumbnails of files that the parser announces while the task still runs.

They are made one after another beside the task and never delay it; a failure is a line in the task's
log. An announced file may not be completely written yet: one that cannot be read is tried again, and
a last time when the task is over.
"""

from __future__ import annotations

import math
from collections import deque
from itertools import count

import trio

from trio_afrender.errors import SpawnError, StoreError
from trio_afrender.plugins.interfaces import PluginTask
from trio_afrender.task.dependencies import TaskDependencies
from trio_afrender.task.events import UnkillableTree
from trio_afrender.task.image_worker import ImageProblem
from trio_afrender.task.process_lifecycle import supervise
from trio_afrender.task.reasons import ReasonLog
from trio_afrender.task.run_folder import RunFolder
from trio_afrender.task.run_state import RunState
from trio_afrender.task.task_control import TaskControl
from trio_afrender.tasklog.head_tail import read_window
from trio_afrender.tasklog.io_threads import wait_out
from trio_afrender.tasklog.redact import Redactor
from trio_afrender.thumbnail.command import Wanted, read_command

__all__ = ("Thumbnails", "make_thumbnail", "read_thumbnail_command")

MAX_OUTPUT = 2000
"""Bytes of a failed command's output in the log."""
MAX_BACKLOG = 32
"""Announced files that may wait; of more the oldest are skipped: recent frames are of more use."""
RETRY_DELAY = 2.0
"""Seconds until a file that could not be read is tried again."""
MAX_TRIES = 5


def read_thumbnail_command(command: str, dependencies: TaskDependencies) -> Wanted | None:
    """Return the request for the image worker that a command stands for; None: it is for the shell."""
    return read_command(command) if dependencies.image_worker is not None else None


async def make_thumbnail(
    request: Wanted, dependencies: TaskDependencies, limit: float
) -> ImageProblem | None:
    """Make a thumbnail within `limit` seconds; return what went wrong, None if nothing did."""
    worker = dependencies.image_worker
    assert worker is not None  # noqa: S101 - else `read_thumbnail_command` returns no request
    try:
        await worker.thumbnail(request.image, request.thumb, request.height, limit)
    except ImageProblem as problem:
        return problem
    return None


class Thumbnails:
    """A queue of announced files. A task in `nursery` processes it while it is not empty."""

    def __init__(
        self,
        state: RunState,
        run_folder: RunFolder,
        plugins: PluginTask,
        nursery: trio.Nursery,
    ) -> None:
        self._state = state
        self._nursery = nursery
        self._run_folder = run_folder
        self._plugins = plugins
        self._numbers = count()
        limit = state.config.post_limit
        self._limit = limit if limit > 0 else math.inf
        self._waiting: deque[str] = deque()
        self._commands: deque[str] = deque()
        """Those of the files that were waiting, not tried yet."""
        self._unfinished: dict[str, int] = {}
        """Commands that failed so far, and how often."""
        self._due = 0.0
        """When those are tried again."""
        self._skipped = 0
        self._over = False
        self._changed = trio.Event()
        self._idle = trio.Event()
        self._idle.set()

    def announce(self, files: tuple[str, ...]) -> None:
        """Queue files; returns at once."""
        self._waiting.extend(file for file in files if file not in self._waiting)
        while len(self._waiting) > MAX_BACKLOG:
            self._waiting.popleft()
            self._skipped += 1
        self._changed.set()
        if self._idle.is_set():
            # A new event: a `finish` that comes now must wait for this work too.
            self._idle = trio.Event()
            # Started on demand: most runs announce nothing, and a waiting task costs some KiB.
            self._nursery.start_soon(wait_out, "thumbnails", self._work)

    async def _work(self) -> None:
        """Make thumbnails until none is left to be made."""
        while self._waiting or self._commands or self._unfinished:
            with trio.move_on_at(self._due):
                await self._changed.wait()
            # Replaced before the work: what is announced during it starts another round.
            self._changed = trio.Event()
            while self._waiting or self._commands:
                await self._take_waiting()
                # Dropped after the attempt: where the host had nothing left, `wait_out` repeats it.
                while self._commands:
                    await self._try(self._commands[0])
                    self._commands.popleft()
                await self._send_files()
            if self._unfinished and (self._over or trio.current_time() >= self._due):
                self._due = trio.current_time() + RETRY_DELAY
                for command in tuple(self._unfinished):
                    await self._try(command)
                await self._send_files()
        self._idle.set()

    async def _take_waiting(self) -> None:
        """Get the commands of the files that are waiting."""
        files = tuple(self._waiting)
        if not files:
            return
        self._waiting.clear()
        try:
            self._commands.extend(await self._plugins.on_the_fly(files))
        except BaseException:
            self._waiting.extendleft(reversed(files))
            raise

    async def finish(self, deadline: float) -> bool:
        """Wait until the announced files are processed, at most the time that one may take.

        A stop ends the wait. Return False if `deadline`, in trio's time, came first.
        """
        self._over = True
        self._changed.set()
        if self._idle.is_set():
            await trio.lowlevel.checkpoint()
        else:
            with trio.move_on_at(deadline), self._state.control.stoppable(self._limit):
                await self._idle.wait()
        if not self._idle.is_set() and trio.current_time() >= deadline:
            return False
        if not self._idle.is_set():
            self._state.note("thumbnails: there was no time for all files that were announced")
        elif self._skipped:
            self._state.note(
                f"thumbnails: {self._skipped} files were passed over, newer ones came too fast"
            )
        return True

    async def _try(self, command: str) -> None:
        """Make one attempt; only the failure of the last one goes into the log."""
        request = read_thumbnail_command(command, self._state.dependencies)
        if request is not None:
            failure = await make_thumbnail(request, self._state.dependencies, self._limit)
            problem = f"no thumbnail: {failure}" if failure else ""
        else:
            problem = await self._run_command(command)
        tries = self._unfinished.pop(command, 0) + 1
        if not problem:
            return
        if self._over or tries >= MAX_TRIES:
            self._state.note(problem)
        else:
            # The first failure sets the time for all: later ones must not move it on and on.
            if not self._unfinished:
                self._due = trio.current_time() + RETRY_DELAY
            self._unfinished[command] = tries

    async def _send_files(self) -> None:
        """Send the files that appeared in the run's files folder and are complete."""
        state = self._state
        more = True
        while more:
            redactor = Redactor(state.secrets)
            batch = await self._run_folder.collect(state.sent_files, redactor)
            await state.send_files(batch)
            more = batch.more

    async def _run_command(self, command: str) -> str:
        """Run a command of ``af_thumbnail_cmd``; return what went wrong, empty if nothing did."""
        dependencies, slot = self._state.dependencies, f"thumbnail-{next(self._numbers)}"
        try:
            async with self._run_folder.open_own_log(slot) as output:
                tree = await dependencies.spawn(
                    self._state.make_launch(command, slot, own_log=True)
                )
                end = await supervise(
                    tree,
                    output,
                    # A control and reasons of its own: a stop of the run must not become this
                    # command's, nor this command's end a reason of the run. Cancelled with the run,
                    # its tree is ended too.
                    TaskControl(),
                    ReasonLog(dependencies.wall),
                    timing=self._state.config.timing,
                    grace=0,  # half a thumbnail is of no use
                    limit=self._limit,
                    before_term=trio.lowlevel.checkpoint,
                )
                if end.leftovers:
                    run = self._state.task.run
                    await self._state.send(UnkillableTree(run=run, tree=tree, pids=end.leftovers))
                if end.status is not None and end.status.code == 0:
                    return ""
                window = await read_window(output, MAX_OUTPUT)
        except (SpawnError, StoreError) as error:
            return f"thumbnail: {error}"
        return f"thumbnail: {command} ended with {end.status}: {window.text.strip()}"

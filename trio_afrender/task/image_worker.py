"""Client of the image worker: a process that reads images, started on demand, ended when idle.

The agent never loads image libraries: a damaged file can crash or hang them. In the worker that
costs one image; the next one gets a new process. A request is one line of JSON, and so is the answer
(`thumbnail.worker`).
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

import trio

from trio_afrender.async_helpers import open_bare_nursery
from trio_afrender.errors import is_exhausted
from trio_afrender.process.environment import clean_environment
from trio_afrender.process.helper_process import start_helper
from trio_afrender.process.procfs import continue_stopped
from trio_afrender.process.task_user import TaskUser

__all__ = (
    "ImageProblem",
    "ImageWorker",
    "ImageWorkers",
    "ProcessImageWorker",
    "open_image_workers",
)

logger: logging.Logger = logging.getLogger(__name__)

MAX_TIME = 300.0
"""Seconds for an image also where its limit is longer, or none: all tasks wait for one worker."""
IDLE_TIMEOUT = 20.0
"""Seconds without an image after which the worker is ended."""
WATCH_INTERVAL = 5.0
"""Seconds without an answer after which a worker that a signal has stopped is continued."""
KILL_TIMEOUT = 5.0
"""Seconds for a killed worker to end."""
MAX_ANSWER = 64 * 1024
"""Bytes of an answer; a longer line is no answer."""
_MODULE = "trio_afrender.thumbnail.worker"


class ImageProblem(Exception):
    """An image could not be read, or no thumbnail of it made; the text says why."""

    def __init__(self, text: str, *, image_is_faulty: bool = False) -> None:
        super().__init__(text)
        self.image_is_faulty = image_is_faulty
        """Whether the image is missing or damaged. Otherwise time, memory or the worker failed."""


class ImageWorker(Protocol):
    """Reads images for tasks, one at a time: calls wait for one another."""

    async def thumbnail(self, image: str, thumb: str, height: int, limit: float) -> None:
        """Write a thumbnail of `height` pixels to `thumb`. Raises `ImageProblem`.

        `limit` seconds for the work, and as many for the wait until the worker is free.
        """
        ...

    async def inspect(self, image: str, limit: float) -> Mapping[str, Any] | None:
        """Return the fields of `thumbnail.inspect.ImageFacts`; None for a movie. `limit` and errors
        as for `thumbnail`."""
        ...


class ProcessImageWorker:
    """An `ImageWorker` with a process behind it. Made by `ImageWorkers`."""

    def __init__(self, nice: int, idle: float, user: TaskUser | None) -> None:
        self._nice = nice
        self._idle = idle
        self._user = user
        self._lock = trio.Lock()
        self._process: trio.Process | None = None
        self._kill: Callable[[], None] = lambda: None
        self._buffer = b""
        self._used = -math.inf
        self._started = trio.Event()

    @property
    def pid(self) -> int | None:
        """The worker's process id, None while there is none."""
        return self._process.pid if self._process is not None else None

    async def thumbnail(self, image: str, thumb: str, height: int, limit: float) -> None:
        request = {"op": "thumbnail", "image": image, "thumb": thumb, "height": height}
        await self._ask(request, limit)

    async def inspect(self, image: str, limit: float) -> Mapping[str, Any] | None:
        seen = (await self._ask({"op": "look", "image": image}, limit)).get("seen")
        return seen if isinstance(seen, dict) else None

    async def _ask(self, request: Mapping[str, object], limit: float) -> Mapping[str, Any]:
        """Send a request and return the answer. Raises `ImageProblem`."""
        image, limit = request["image"], min(limit, MAX_TIME)
        async with self._exclusive(f"{image} was not read: the thumbnailer was busy", limit):
            done = False
            try:
                with trio.move_on_after(limit) as waiting:
                    answer = await self._exchange(request)
                    done = True
            finally:
                self._used = trio.current_time()
                if not done:
                    # Cancelled or too late: the worker still reads this image and would answer the
                    # next request with it.
                    await self._end()
        if waiting.cancelled_caught:
            raise ImageProblem(f"{image} was not read within {limit:g} s")
        if answer.get("error"):
            raise ImageProblem(str(answer["error"]), image_is_faulty=answer.get("sure") is True)
        return answer

    @asynccontextmanager
    async def _exclusive(self, problem: str, limit: float) -> AsyncIterator[None]:
        """Hold the worker alone. Raises `ImageProblem` if others use it for `limit` seconds."""
        with trio.move_on_after(limit) as waiting:
            await self._lock.acquire()
        if waiting.cancelled_caught:
            raise ImageProblem(f"{problem} for {limit:g} s")
        try:
            yield
        finally:
            self._lock.release()

    async def _exchange(self, request: Mapping[str, object]) -> Mapping[str, Any]:
        process = await self._get_process()
        assert process.stdin is not None  # noqa: S101 - asked for when it was started
        try:
            # Escaped to ASCII: file names that are not UTF-8 survive (test_a_name_that_is_not_utf8).
            await process.stdin.send_all(json.dumps(request).encode("ascii") + b"\n")
            line = await self._read_line(process)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            line = b""
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if isinstance(answer, dict):
            return answer
        # No answer is what a crash looks like from here; the exit status says which.
        code = await process.wait()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise ImageProblem(f"{request['image']} ended the thumbnailer ({how})")

    async def _read_line(self, process: trio.Process) -> bytes:
        """Return one line without its end; empty at the end of the worker's output."""
        assert process.stdout is not None  # noqa: S101 - as above
        while b"\n" not in self._buffer and len(self._buffer) < MAX_ANSWER:
            data: bytes | bytearray | None = None
            with trio.move_on_after(WATCH_INTERVAL):
                data = await process.stdout.receive_some()
            if data is None:
                continue_stopped(process.pid)
                continue
            if not data:
                return b""
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    async def _get_process(self) -> trio.Process:
        """Return the running worker; start one if there is none. Raises `ImageProblem`."""
        if self._process is None or self._process.poll() is not None:
            await self._end()
            # -P, so that no module in the current folder is imported in place of a library.
            arguments = ["-P", "-m", _MODULE, str(self._nice)]
            if self._user is not None:
                # It becomes that user before its first image.
                ids = self._user.ids
                arguments.append(",".join(map(str, (ids.uid, ids.gid, *ids.groups))))
            try:
                # No checkpoint after the start: either it raises, or the process is noted and will
                # be ended.
                self._process, self._kill = await start_helper(
                    [sys.executable, *arguments], clean_environment(os.environ), nice=self._nice
                )
            except (OSError, RuntimeError) as error:  # `RuntimeError`: no thread is left
                if isinstance(error, RuntimeError) and not is_exhausted(error):
                    raise
                raise ImageProblem(f"the thumbnailer cannot be started: {error}") from error
            self._buffer = b""
            self._started.set()
        return self._process

    async def _end(self) -> None:
        """Kill and reap the worker, if there is one, and what it has started (ffmpeg)."""
        process, self._process = self._process, None
        if process is None:
            return
        with trio.CancelScope(shield=True):
            # KILL at once: the worker holds nothing that a TERM would let it save.
            self._kill()
            with trio.move_on_after(KILL_TIMEOUT) as reaping:
                await process.wait()
            if reaping.cancelled_caught:
                logger.error("the thumbnailer %d cannot be killed", process.pid)
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    await stream.aclose()

    async def run(self) -> None:
        """End the worker whenever it is idle. Runs until cancelled; then no process is left."""
        try:
            while True:
                await self._started.wait()
                self._started = trio.Event()
                while self._process is not None:
                    await trio.sleep_until(self._used + self._idle)
                    async with self._lock:
                        # It may have been used while this task waited for the lock.
                        if trio.current_time() >= self._used + self._idle:
                            await self._end()
        finally:
            await self._end()


class ImageWorkers:
    """The image worker of the agent's user, and one for each other user. Made by `open_image_workers`.

    A worker reads what tasks have written, with libraries that a prepared file may take over, and
    writes where tasks may have put links: so it must have no more rights than they have.
    """

    def __init__(self, nursery: trio.Nursery, nice: int, idle: float) -> None:
        self._nursery = nursery
        self._nice = nice
        self._idle = idle
        self._workers: dict[int | None, ProcessImageWorker] = {}
        self.own: ProcessImageWorker = self._open(None)

    def of(self, user: TaskUser) -> ProcessImageWorker:
        """Return the worker of a user; its process starts with the first image."""
        return self._workers.get(user.ids.uid) or self._open(user)

    def _open(self, user: TaskUser | None) -> ProcessImageWorker:
        worker = ProcessImageWorker(self._nice, self._idle, user)
        self._workers[user.ids.uid if user is not None else None] = worker
        self._nursery.start_soon(worker.run)
        return worker


@asynccontextmanager
async def open_image_workers(
    *, nice: int = 0, idle: float = IDLE_TIMEOUT
) -> AsyncIterator[ImageWorkers]:
    """Provide image workers; the process of each starts with its first image. Leaving ends them.

    Errors of the body leave unwrapped, not as a group.
    """
    async with open_bare_nursery() as nursery:
        yield ImageWorkers(nursery, nice, idle)

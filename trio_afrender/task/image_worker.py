"""The worker process that reads images: started when one is wanted, ended when idle.

The agent itself never loads the libraries that do it. A damaged file may crash or hang them: that
costs the worker, and the next image gets a new one.
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

import trio

from trio_afrender.process.environment import clean_environment

__all__ = ("ImageProblem", "ImageWorker", "ProcessImageWorker", "open_image_worker")

logger = logging.getLogger(__name__)

IDLE_TIMEOUT = 20.0
"""Seconds without an image after which the worker is ended."""
MAX_ANSWER = 64 * 1024
_MODULE = "trio_afrender.thumbnail.worker"


class ImageProblem(Exception):
    """An image could not be read, or no thumbnail made of it; the text says why."""

    def __init__(self, text: str, *, sure: bool = False) -> None:
        super().__init__(text)
        self.sure = sure
        """Whether it is the image's fault: not there, damaged. Else there was no time, no memory."""


class ImageWorker(Protocol):
    """Who reads images for tasks. Calls wait for one another."""

    async def thumbnail(self, image: str, thumb: str, height: int, limit: float) -> None:
        """Make a thumbnail within `limit` seconds of work, and as many of waiting for one's turn.

        Raises `ImageProblem`, as `look`.
        """
        ...

    async def look(self, image: str, limit: float) -> Mapping[str, Any] | None:
        """What an image looks like: the fields of `thumbnail.look.Look`; None for a movie."""
        ...


class ProcessImageWorker:
    """A `Painter` with a process behind it. Made by `open_painter`."""

    def __init__(self, nice: int, idle: float) -> None:
        self._nice = nice
        self._idle = idle
        self._lock = trio.Lock()
        self._process: trio.Process | None = None
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

    async def look(self, image: str, limit: float) -> Mapping[str, Any] | None:
        seen = (await self._ask({"op": "look", "image": image}, limit)).get("seen")
        return seen if isinstance(seen, dict) else None

    async def _ask(self, request: Mapping[str, object], limit: float) -> Mapping[str, Any]:
        """Raises `ImageProblem`. Cancelled or too late, the worker is ended: it is busy."""
        image = request["image"]
        async with self._turn(f"{image} was not read: the thumbnailer was busy", limit):
            done = False
            try:
                with trio.move_on_after(limit) as waiting:
                    answer = await self._exchange(request)
                    done = True
            finally:
                self._used = trio.current_time()
                if not done:
                    await self._end()
        if waiting.cancelled_caught:
            raise ImageProblem(f"{image} was not read within {limit:g} s")
        if answer.get("error"):
            raise ImageProblem(str(answer["error"]), sure=answer.get("sure") is True)
        return answer

    @asynccontextmanager
    async def _turn(self, problem: str, limit: float) -> AsyncIterator[None]:
        """The worker for oneself; raises `ImageProblem` when others keep it for `limit` seconds."""
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
        code = await process.wait()
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise ImageProblem(f"{request['image']} ended the thumbnailer ({how})")

    async def _read_line(self, process: trio.Process) -> bytes:
        assert process.stdout is not None  # noqa: S101 - as above
        while b"\n" not in self._buffer and len(self._buffer) < MAX_ANSWER:
            data = await process.stdout.receive_some()
            if not data:
                return b""
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    async def _get_process(self) -> trio.Process:
        """Raises `ImageProblem`."""
        if self._process is None or self._process.poll() is not None:
            await self._end()
            try:
                # No checkpoint from here on: it either raises or the process is ours to end.
                self._process = await trio.lowlevel.open_process(
                    [sys.executable, "-P", "-m", _MODULE, str(self._nice)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                    env=clean_environment(os.environ),
                )
            except OSError as error:
                raise ImageProblem(f"the thumbnailer cannot be started: {error}") from error
            self._buffer = b""
            self._started.set()
        return self._process

    async def _end(self) -> None:
        """Kill and reap the worker and what it has started (ffmpeg), if there is one."""
        process, self._process = self._process, None
        if process is None:
            return
        with trio.CancelScope(shield=True):
            with suppress(ProcessLookupError, PermissionError):
                # The number is ours as long as its leader is not reaped.
                if process.returncode is None:
                    os.killpg(process.pid, signal.SIGKILL)
            with trio.move_on_after(5.0) as reaping:
                await process.wait()
            if reaping.cancelled_caught:
                logger.error("the thumbnailer %d cannot be killed", process.pid)
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    await stream.aclose()

    async def run(self) -> None:
        """End the worker whenever it is idle. Runs until cancelled; leaves none behind."""
        try:
            while True:
                await self._started.wait()
                self._started = trio.Event()
                while self._process is not None:
                    await trio.sleep_until(self._used + self._idle)
                    async with self._lock:
                        if trio.current_time() >= self._used + self._idle:
                            await self._end()
        finally:
            await self._end()


@asynccontextmanager
async def open_image_worker(
    *, nice: int = 0, idle: float = IDLE_TIMEOUT
) -> AsyncIterator[ProcessImageWorker]:
    """Have a painter; its process starts with the first image. Leaving ends it."""
    painter = ProcessImageWorker(nice, idle)
    raised: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(painter.run)
        try:
            yield painter
        except BaseException as error:  # noqa: BLE001 - raised again below, outside the nursery
            raised = error
        nursery.cancel_scope.cancel()
    if raised is not None:
        raise raised

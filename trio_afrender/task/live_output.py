"""Live output for whoever listens on the server: what the log gained, once a heartbeat."""

from __future__ import annotations

import codecs
from collections.abc import Awaitable, Callable

import trio

from trio_afrender.task.task_control import TaskControl
from trio_afrender.tasklog.interfaces import Chunk, LogReader
from trio_afrender.tasklog.io_threads import work_in_thread
from trio_afrender.tasklog.redact import Redactor

__all__ = ("LiveOutput",)

CHUNK_SIZE = 256 * 1024


class LiveOutput:
    """Sends output from the moment the handle listens; secrets are blotted out across pieces."""

    def __init__(
        self,
        handle: TaskControl,
        reader: Callable[[], LogReader],
        publish: Callable[[str], Awaitable[None]],
        secrets: tuple[str, ...],
        *,
        period: float,
        on_disk: bool,
    ) -> None:
        self._handle = handle
        self._reader = reader
        self._publish = publish
        self._secrets = secrets
        self._period = period
        self._on_disk = on_disk
        self._offset: int | None = None
        self._reset()

    def _reset(self) -> None:
        self._redactor = Redactor(self._secrets)
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    async def run(self) -> None:
        """Send what is new every period until cancelled; sleep while nobody listens."""
        while True:
            if not self._handle.listening:
                self._offset = None
                await self._handle.listened()
            await self.flush()
            await trio.sleep(self._period)

    async def flush(self, *, last: bool = False) -> None:
        """Send what is new now; with `last` also what was held back at the end."""
        if not self._handle.listening:
            return
        reader = self._reader()
        if self._offset is None:
            # A listener that was there before the run sees all of it, a later one what is new.
            self._offset = 0 if self._handle.task.flags & 1 else reader.size()
            self._reset()
        while reader.size() > self._offset:
            chunk = await self._read(reader, self._offset)
            if not chunk.data:
                break
            gap = chunk.offset - self._offset
            self._offset = chunk.end
            text = self._redactor.feed(self._decoder.decode(chunk.data))
            mark = f"\n[{gap} bytes left out]\n" if gap else ""
            if mark or text:
                await self._publish(mark + text)
        if last and (
            rest := self._redactor.feed(self._decoder.decode(b"", final=True))
            + self._redactor.finish()
        ):
            await self._publish(rest)

    async def _read(self, reader: LogReader, offset: int) -> Chunk:
        if not self._on_disk:
            await trio.lowlevel.checkpoint()
            return reader.read(offset, CHUNK_SIZE)
        return await work_in_thread(lambda: reader.read(offset, CHUNK_SIZE), abandon=True)

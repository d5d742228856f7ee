"""Live output for clients that listen to a run: what its log gained, once a heartbeat."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import attrs
import trio

from trio_afrender.task.events import Listened
from trio_afrender.task.run_folder import RunFolder
from trio_afrender.task.run_state import RunState
from trio_afrender.tasklog.io_threads import wait_out, work_in_thread
from trio_afrender.tasklog.redact import Redactor

__all__ = ("LiveOutput",)

CHUNK_SIZE = 256 * 1024
"""Bytes of the log sent in one piece."""


@attrs.define
class _Stream:
    """What listeners have been sent: decoded and redacted up to an offset of the log."""

    offset: int
    redactor: Redactor
    line: str = ""
    """The end of the text so far, from the begin of its last line."""
    unsent: str = ""
    decoder: codecs.IncrementalDecoder = attrs.field(
        factory=partial(codecs.getincrementaldecoder("utf-8"), "surrogateescape")
    )


class LiveOutput:
    """Sends the output while the run has listeners, with secrets redacted across chunk edges."""

    def __init__(self, state: RunState, run_folder: RunFolder) -> None:
        self._state = state
        self._control = state.control
        self._sending = False
        # Listeners see what the parser makes of the output; without a parser that is the log.
        self._source = run_folder.view if state.has_parser else run_folder.log
        self._on_disk = run_folder.log.folder is not None
        self._stream: _Stream | None = None
        """None while there are no listeners."""

    @contextmanager
    def sent_in(self, nursery: trio.Nursery) -> Iterator[None]:
        """Have a task in `nursery` send while there are listeners, until this is left."""

        def start() -> None:
            # On demand: most runs have no listeners, and a waiting task costs some KiB.
            if not self._sending:
                self._sending = True
                nursery.start_soon(wait_out, "live output", self._send_while_listened)

        self._control.when_listened(start)
        try:
            yield
        finally:
            # A listener may come when the nursery is closed already.
            self._control.when_listened(None)

    async def _send_while_listened(self) -> None:
        """Send what is new every heartbeat, until there are no listeners."""
        while self._control.listening:
            await self.flush()
            await trio.sleep(self._state.config.timing.heartbeat)
        # What is printed without listeners is not sent to the next one.
        self._stream = None
        self._sending = False

    async def flush(self, *, last: bool = False) -> None:
        """Send what is new now. With `last`, send too what was held back: a possible start of a
        secret, half a character."""
        if not self._control.listening:
            return
        reader, stream = self._source.reader(), self._stream
        if stream is None:
            # Flag 1 of the exec: there were listeners before the run, they get all of it. A later
            # one gets what is new from now on and asks for the output so far.
            offset = 0 if self._state.task.flags & 1 else reader.size()
            stream = self._stream = _Stream(offset, Redactor(self._state.secrets))
        redactor = stream.redactor
        await self._send_rest(stream)
        while reader.size() > stream.offset:
            read = partial(reader.read, stream.offset, CHUNK_SIZE)
            if self._on_disk:
                chunk = await work_in_thread(read, abandon=True)
            else:
                await trio.lowlevel.checkpoint()
                chunk = read()
            if not chunk.data:
                break  # the rest is missing
            gap = chunk.offset - stream.offset
            stream.offset = chunk.end
            decoded = stream.decoder.decode(chunk.data)
            # With the line that the piece before it may have ended in.
            redactor.learn(stream.line + decoded)
            stream.line = (stream.line + decoded).rpartition("\n")[2][-CHUNK_SIZE:]
            self._state.hide(redactor.learned)
            text = redactor.feed(decoded)
            stream.unsent = (f"\n[{gap} bytes left out]\n" if gap else "") + text
            await self._send_rest(stream)
        if last:
            stream.unsent = (
                redactor.feed(stream.decoder.decode(b"", final=True)) + redactor.finish()
            )
            await self._send_rest(stream)

    async def _send_rest(self, stream: _Stream) -> None:
        if stream.unsent:
            await self._state.send(Listened(run=self._state.task.run, text=stream.unsent))
            # Only now: the last `flush` sends what a cancelled one did not.
            stream.unsent = ""

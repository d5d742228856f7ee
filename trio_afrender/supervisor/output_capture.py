"""The output of one tree: a pipe that the parent reads, and the log that it writes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
from pathlib import Path

from trio_afrender.supervisor.protocol import LogSpec, TreeState
from trio_afrender.tasklog.writer import open_writer

__all__ = ("OutputCapture",)

PIPE_SIZE = 1024 * 1024
"""Bytes that a renderer may print ahead of us; 64 KiB is the kernel's own default."""


class OutputCapture:
    """Owns the read end and the log; whoever makes it closes `writing`, and calls `close`."""

    def __init__(self, log: LogSpec) -> None:
        """Open the log and the pipe. Raises `OSError`."""
        self._writer = open_writer(
            Path(log.folder), quota=log.quota, segment=log.segment, held=log.held
        )
        self.descriptor, self.writing = os.pipe()
        """The read end is -1 once the pipe has ended."""
        os.set_blocking(self.descriptor, False)
        self._poll = select.poll()
        self._poll.register(self.descriptor, select.POLLIN)
        with contextlib.suppress(OSError):  # refused to a user with too many large pipes
            fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, PIPE_SIZE)

    def drain(self) -> bool:
        """Move what the pipe holds into the log, a few MiB at most; whether anything has changed."""
        if self.descriptor < 0:
            return False
        # Asked first: to take nothing, the writer would make folder and file, the dearest part of a
        # task that prints nothing.
        events = dict(self._poll.poll(0)).get(self.descriptor, 0)
        if not events:
            return False
        if not events & select.POLLIN:  # its writers are gone, and it is empty
            self._close_pipe()
            return True
        try:
            moved = self._writer.fill_from(self.descriptor)
        except OSError:
            moved = 0
        if moved == 0:
            self._close_pipe()
        return moved is not None

    def tell(self, state: TreeState) -> None:
        """Put into `state` what is known of the output."""
        seen = self._writer.state
        state.size, state.lost, state.held = seen.size, seen.lost, len(seen.held)
        state.trouble = self._writer.disk_error
        state.eof = self.descriptor < 0

    @property
    def held(self) -> bytes:
        """The end of the log, which no disk took."""
        return self._writer.state.held

    @property
    def gone(self) -> list[list[object]]:
        """What the log lacks: start, end, line feeds, kind of each range. A disk that refuses
        output may refuse the notes of it as well."""
        return [[each.start, each.end, each.lines, each.kind] for each in self._writer.state.ranges]

    def finish(self) -> None:
        """Store what the disk takes now, and note the rest as lost."""
        self._writer.close()

    def close(self) -> None:
        """Give the pipe back; writers get SIGPIPE from then on."""
        self._close_pipe()

    def _close_pipe(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

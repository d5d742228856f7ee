"""The output of one tree: a pipe that the task supervisor reads, and the log that it writes."""

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
"""Bytes that a program may print ahead of the task supervisor; the kernel's default is 64 KiB."""


class OutputCapture:
    """Owns the read end of the pipe and the log. The caller closes `writing` and calls `close`."""

    def __init__(self, log: LogSpec) -> None:
        """Open the log and the pipe. Raises `OSError`."""
        self._writer = open_writer(
            Path(log.folder),
            quota=log.quota,
            segment=log.segment,
            held=log.held,
            group=log.group,
        )
        self.descriptor: int
        self.writing: int
        self.descriptor, self.writing = os.pipe()
        """The read end, -1 once the pipe has ended; and the write end."""
        os.set_blocking(self.descriptor, False)
        self._poll = select.poll()
        self._poll.register(self.descriptor, select.POLLIN)
        # Without root the kernel refuses this once a user's pipes hold more than
        # fs.pipe-user-pages-soft; then the pipe keeps its default size.
        with contextlib.suppress(OSError):
            fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, PIPE_SIZE)

    def drain(self) -> bool:
        """Move what the pipe holds into the log, a few MiB at most; return whether anything changed."""
        if self.descriptor < 0:
            return False
        # Asked first: even for zero bytes the writer makes folder and file, the slowest part of a
        # task that prints nothing (test_a_tree_that_prints_nothing_leaves_no_log).
        events = dict(self._poll.poll(0)).get(self.descriptor, 0)
        if not events:
            return False
        if not events & select.POLLIN:  # POLLHUP alone: no writer is left, and no byte
            self._close_pipe()
            return True
        try:
            moved = self._writer.fill_from(self.descriptor)
        except OSError:
            moved = 0
        if moved == 0:
            self._close_pipe()
        return moved is not None

    def update_state(self, state: TreeState) -> None:
        """Store in `state` what is known of the output."""
        seen = self._writer.state
        state.size, state.lost, state.held = seen.size, seen.lost, len(seen.held)
        state.trouble = self._writer.disk_error
        state.eof = self.descriptor < 0

    @property
    def held(self) -> bytes:
        """The end of the log as long as it is only in memory, because the disk refused it."""
        return self._writer.state.held

    @property
    def missing(self) -> list[list[object]]:
        """The ranges that the log lacks: start, end, line feeds and kind of each.

        The agent asks for them: a disk that refuses output may refuse the notes about it as well.
        """
        return [[each.start, each.end, each.lines, each.kind] for each in self._writer.state.ranges]

    def finish(self) -> None:
        """Store what the disk accepts now, and note the rest as lost. No `drain` may follow."""
        self._writer.close()

    def close(self) -> None:
        """Close the pipe. A process that still writes into it gets SIGPIPE. May be called again."""
        self._close_pipe()

    def _close_pipe(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

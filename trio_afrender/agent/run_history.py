"""History of the latest runs on this host, which ``trio_afrender why`` reads: a JSON line a run.

It has two files of at most `MAX_FILE_SIZE` bytes; the older one is ``history.1.jsonl``. Nothing
else depends on it, so a disk that refuses costs the line and nothing more.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol, final

import attrs
import trio

from trio_afrender.errors import is_descriptor_missing
from trio_afrender.protocol.messages import TaskExec, TaskUpdate
from trio_afrender.safe_files import open_regular, read_at, read_regular, replace_file
from trio_afrender.tasklog.io_threads import work_in_thread

__all__ = ("DiskRunHistory", "RunHistory", "make_line", "read_history")

logger: logging.Logger = logging.getLogger(__name__)

MAX_FILE_SIZE = 5 * 1024 * 1024
WRITE_DELAY = 1.0
"""Seconds in which lines are collected for one write."""
MAX_WAITING = 1000
"""Lines that wait for a host that has nothing left to write them with."""


class RunHistory(Protocol):
    """Records the ends of runs."""

    def note(self, update: TaskUpdate, task: TaskExec | None) -> None:
        """Record an outcome; `task` is None for a run whose exec never arrived."""
        ...

    async def run(self) -> None:
        """Store recorded outcomes until cancelled, and the last ones after the cancellation."""
        ...


def make_line(update: TaskUpdate, task: TaskExec | None) -> dict[str, Any]:
    """Return the fields of one line. Times are Unix time; `state` is the name of Afanasy's status."""
    return {
        **update.key._asdict(),
        "run": update.run,
        "name": task.name if task else "",
        "block_name": task.block_name if task else "",
        "job_name": task.job_name if task else "",
        "user_name": task.user_name if task else "",
        "service": task.service if task else "",
        "state": update.status.name,
        "status": int(update.status),
        "exit_code": update.exit_code,
        "exit_signal": update.exit_signal,
        "started": update.started,
        "finished": update.finished,
        "percent": update.percent,
        "resources": update.resources,
        "usage": attrs.asdict(update.usage) if update.usage is not None else None,
        "why": [attrs.asdict(step) for step in update.why],
    }


@final
class DiskRunHistory:
    """A `RunHistory` in a folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "history.jsonl"
        self._waiting: list[dict[str, Any]] = []
        self._added = trio.Event()
        self._refused = False
        """Whether the host had nothing left for the last write."""

    def note(self, update: TaskUpdate, task: TaskExec | None) -> None:
        self._waiting.append(make_line(update, task))
        self._added.set()

    async def run(self) -> None:
        try:
            while True:
                await self._added.wait()
                await trio.sleep(WRITE_DELAY)
                self._added = trio.Event()
                # Shielded: the lines are out of `_waiting` and would be lost with a cancellation
                # before the thread starts.
                with trio.CancelScope(shield=True):
                    await self._write()
        finally:
            # Abandoned after a second: a stuck disk must not delay the end of the agent.
            with trio.move_on_after(WRITE_DELAY, shield=True):
                await self._write(abandon=True)

    async def _write(self, *, abandon: bool = False) -> None:
        """Store the lines that wait. They wait on while the host has no thread or descriptor left."""
        lines, self._waiting = self._waiting, []
        try:
            await work_in_thread(partial(_append, self._path, lines), abandon=abandon)
        except OSError as error:
            if not self._refused:
                _warn(self._path, error)
            self._refused = True
            self._waiting = [*lines, *self._waiting][-MAX_WAITING:]
            self._added.set()
        else:
            self._refused = False


def _append(path: Path, lines: list[dict[str, Any]]) -> None:
    """Append lines. Raises `OSError` only for what may pass: no descriptor, no memory."""
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    if not data:
        return
    written = False
    try:
        handle = open_regular(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        with os.fdopen(handle, "rb+", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            # A write that was cut short left half a line; the new line must not be joined to it.
            if size and read_at(handle, 1, size - 1) != b"\n":
                data = b"\n" + data
            file.write(data)
            written = True
        if size + len(data) > MAX_FILE_SIZE:
            replace_file(path, path.with_name("history.1.jsonl"))
    except OSError as error:
        if not written and is_descriptor_missing(error):
            raise
        _warn(path, error)


def _warn(path: Path, error: OSError) -> None:
    logger.warning("the history %s cannot be written: %s", path, error.strerror or error)


def read_history(
    folder: Path, names: Sequence[str] = ("history.1.jsonl", "history.jsonl")
) -> Iterator[Mapping[str, Any]]:
    """Yield the lines of both files, the oldest first. Torn lines are skipped. Raises `OSError`."""
    for name in names:
        try:
            # The last line may have made the file longer than its limit.
            text = read_regular(folder / name, 2 * MAX_FILE_SIZE).decode("utf-8", "replace")
        except FileNotFoundError:
            continue
        for line in text.splitlines():
            try:
                facts = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(facts, dict) and isinstance(facts.get("why"), list):
                yield facts

"""Writes log records to the terminal in a thread of the logging module, so that trio never waits."""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from logging.handlers import QueueHandler, QueueListener

from trio_afrender.cli.terminal import clean

__all__ = ("logging_to",)

_LIMIT = 10_000
"""Records that may wait while the terminal blocks; further ones are dropped."""
_BATCH_DELAY = 0.02
"""Seconds that the first record after a pause waits for others."""


class _Dropping(QueueHandler):
    def enqueue(self, record: logging.LogRecord) -> None:
        # The base class would print a traceback for each record that finds the queue full.
        with suppress(queue.Full):
            self.queue.put_nowait(record)


class _Batches(QueueListener):
    """Handles records in batches: on a busy agent, a wake-up of this thread for each record would
    make the event loop hand the interpreter lock over and wait for it."""

    def __init__(
        self, records: queue.Queue[logging.LogRecord | None], handler: logging.Handler
    ) -> None:
        super().__init__(records, handler)
        self._records = records

    def dequeue(self, block: bool) -> logging.LogRecord:
        try:
            return super().dequeue(block=False)
        except queue.Empty:
            record = super().dequeue(block)
        if isinstance(record, logging.LogRecord):  # `stop` ends the thread by None
            time.sleep(_BATCH_DELAY)
        return record

    def enqueue_sentinel(self) -> None:
        # The base class raises `queue.Full` when the terminal has blocked for long.
        self._records.put(None)


class _Lines(logging.Handler):
    def __init__(self, write: Callable[[str], None], *, times: bool) -> None:
        super().__init__()
        self._write = write
        form = "%(asctime)s %(levelname)s %(message)s" if times else "%(levelname)s %(message)s"
        self.setFormatter(logging.Formatter(form, "%H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        for line in self.format(record).split("\n"):
            self._write(clean(line))


@contextmanager
def logging_to(write: Callable[[str], None], level: int, *, times: bool = True) -> Iterator[None]:
    """Pass the log of this process to `write`, one line for each call, in another thread."""
    records: queue.Queue[logging.LogRecord | None] = queue.Queue(_LIMIT)
    listener = _Batches(records, _Lines(write, times=times))
    handler = _Dropping(records)
    root, ours = logging.getLogger(), logging.getLogger("trio_afrender")
    before = ours.level
    root.addHandler(handler)
    ours.setLevel(level)
    listener.start()
    try:
        yield
    finally:
        root.removeHandler(handler)
        ours.setLevel(before)
        listener.stop()

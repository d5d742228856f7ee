"""Writes log records in a thread of the logging module, so that trio never waits for a terminal or disk.

`logging_to` passes lines to a function. `open_daemon_log` is for programs that run for long: their lines
go to stderr or to a file, as text or JSON, together with the lines that the command prints itself.
"""

from __future__ import annotations

import copy
import logging
import os
import queue
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path

from trio_afrender.cli.log_events import MESSAGE, describe_record
from trio_afrender.cli.log_format import (
    JsonLines,
    LineForm,
    TextLines,
    is_journal,
    priority_prefix,
    read_level,
)
from trio_afrender.cli.terminal import send_lines_to, write_stderr
from trio_afrender.config.settings import LogSettings
from trio_afrender.errors import ConfigError
from trio_afrender.safe_files import PLAIN

__all__ = ("logging_to", "open_daemon_log", "print_json")

_LIMIT = 10_000
"""Records that may wait while the terminal blocks; further ones are dropped."""
_BATCH_DELAY = 0.02
"""Seconds that the first record after a pause waits for others."""


class _Dropping(QueueHandler):
    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        # Not that of the base class, which puts the values into the text: the text names the event.
        made = copy.copy(record)
        if not hasattr(record, "event"):
            made.event, made.fields = describe_record(record)
        made.msg, made.args = record.getMessage(), None
        if record.exc_info:
            made.exception = "".join(traceback.format_exception(*record.exc_info)).rstrip()
        made.exc_info = made.exc_text = None
        return made

    def enqueue(self, record: logging.LogRecord) -> None:
        # The base class would print a traceback for each record that finds the queue full.
        with suppress(queue.Full):
            self.queue.put_nowait(record)


class _Batches(QueueListener):
    """Handles records in batches: on a busy agent, a wake-up of this thread for each record would
    make the event loop hand the interpreter lock over and wait for it."""

    def __init__(
        self, records: queue.Queue[logging.LogRecord | None], *handlers: logging.Handler
    ) -> None:
        super().__init__(records, *handlers)
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
    """Passes the lines of each record to `write`, with the level."""

    def __init__(self, form: LineForm, write: Callable[[str, int], None]) -> None:
        super().__init__()
        self._form = form
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        for line in self._form.format(record):
            self._write(line, record.levelno)


class _File(RotatingFileHandler):
    """A file that is divided at a size, and opened again after another program has renamed it.

    That the disk is full is a line on stderr, once until the disk takes lines again.
    """

    def __init__(self, path: Path, form: LineForm, settings: LogSettings) -> None:
        # Of a link the target: a division would rename the link and let the target grow. Not of one to
        # a pipe, as /dev/stdout can be, which leads to no name of a file.
        target = os.path.realpath(path)
        super().__init__(
            target if os.path.isfile(target) or not os.path.exists(path) else path,  # noqa: PTH110, PTH113 - texts
            maxBytes=settings.file_bytes,
            backupCount=settings.files,
            encoding="utf-8",
            errors="backslashreplace",
        )
        self._form = form
        self._problem = ""
        self._reported = False

    def _open(self) -> TextIOWrapper:
        # A new one is for its owner alone: lines may have links with tokens, as those of the page.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | PLAIN
        # A FIFO that nothing reads from is an error: without it the program would wait for a reader.
        no_wait = getattr(os, "O_NONBLOCK", 0)
        descriptor = os.open(self.baseFilename, flags | no_wait, 0o600)
        if no_wait:
            os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, "a", encoding=self.encoding, errors=self.errors)

    def doRollover(self) -> None:
        if not self.backupCount:
            # The base class would open the same file again, and it would grow.
            if self.stream is not None:
                self.stream.close()
            os.unlink(self.baseFilename)  # noqa: PTH108 - a text
        super().doRollover()

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(self._form.format(record))

    def emit(self, record: logging.LogRecord) -> None:
        self._problem = ""
        with suppress(OSError):
            self._reopen_if_renamed()
        super().emit(record)
        if self._problem and not self._reported:
            write_stderr(f"warning: the log file {self.baseFilename}: {self._problem}\n")
        elif self._reported and not self._problem:
            write_stderr(f"the log file {self.baseFilename} is written again\n")
        self._reported = bool(self._problem)

    def handleError(self, record: logging.LogRecord) -> None:
        # The base class would print a traceback for each record.
        error = sys.exc_info()[1]
        self._problem = str(getattr(error, "strerror", None) or error)

    def _reopen_if_renamed(self) -> None:
        if self.stream is None or self.stream.closed:
            self.stream = None  # a division has failed; `emit` opens the file
            return
        ours, there = os.fstat(self.stream.fileno()), None
        with suppress(FileNotFoundError):
            there = os.stat(self.baseFilename)  # noqa: PTH116 - a text
        if there is None or (ours.st_dev, ours.st_ino) != (there.st_dev, there.st_ino):
            stream, self.stream = self.stream, self._open()
            stream.close()

    def close(self) -> None:
        with suppress(OSError):  # what a full disk did not take has been reported
            super().close()


@contextmanager
def _listening(level: int, *handlers: logging.Handler) -> Iterator[None]:
    """Have the handlers handle the log of this process, in another thread."""
    records: queue.Queue[logging.LogRecord | None] = queue.Queue(_LIMIT)
    listener = _Batches(records, *handlers)
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


@contextmanager
def logging_to(write: Callable[[str], None], level: int, *, times: bool = True) -> Iterator[None]:
    """Pass the log of this process to `write`, one line for each call, in another thread."""
    with _listening(level, _Lines(TextLines(times), lambda line, _level: write(line))):
        yield


def print_json(program: str) -> None:
    """Have the command print its lines to stderr as JSON objects, until its log is opened."""
    form = JsonLines(program)

    def write(line: str) -> None:
        write_stderr("".join(f"{each}\n" for each in form.format(_make_record(line))))

    send_lines_to(write)


def _make_record(line: str) -> logging.LogRecord:
    record = logging.LogRecord("trio_afrender", read_level(line), "", 0, line, None, None)
    record.event, record.fields = MESSAGE, {}
    return record


@contextmanager
def open_daemon_log(
    program: str, settings: LogSettings, level: int, *, times: bool = True
) -> Iterator[None]:
    """Write the log of this process and the lines that it prints, as `settings` have it.

    Without a file they go to stderr; with one, only the lines that the command prints go there too.
    Raises `ConfigError` for a file that cannot be written.
    """
    as_json = settings.format == "json"
    journal = is_journal(os.environ, 2)
    form: LineForm = JsonLines(program)
    if not as_json:
        # The journal has times and levels of its own.
        form = TextLines(times and not journal, not journal, dated_messages=False)

    def write(line: str, number: int) -> None:
        write_stderr(f"{priority_prefix(number) if journal else ''}{line}\n")

    stderr = _Lines(form, write)
    handlers: list[logging.Handler] = [stderr]
    if settings.file is not None:
        stderr.addFilter(lambda record: getattr(record, "event", "") == MESSAGE)
        try:
            handlers.append(_File(settings.file, form if as_json else TextLines(), settings))
        except OSError as error:
            problem = error.strerror or error
            raise ConfigError(f"--log-file {settings.file}: {problem}") from error
    ended = False

    def pass_on(line: str) -> None:
        # At once, not by the queue: a line is out before a line of stdout that follows it.
        record = _make_record(line)
        for each in handlers:
            if each.filter(record):
                each.handle(record)
                if ended:  # an error of the command, printed after its log was closed
                    each.close()

    try:
        with _listening(level, *handlers):
            send_lines_to(pass_on)
            yield
    finally:
        ended = True
        for each in handlers:
            each.close()

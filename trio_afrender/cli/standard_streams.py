"""stdin, stdout and stderr of the program: closed or full ones are errors of the user's system.

A shell's ``>&-`` starts a program without stdout. Python then has none, and the next file that is opened
gets its number, so that what is meant for stdout would be written there.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from contextlib import suppress
from typing import TextIO, final

from trio_afrender.errors import OutputError

__all__ = ("ReaderGone", "discard_output", "finish_streams", "prepare_streams")


class ReaderGone(BrokenPipeError):
    """The reader of stdout has closed it, as ``head`` does: the program ends without a message."""


@final
class _Output(io.TextIOWrapper):
    """stdout whose errors say so. A file that a command writes may fail in the same ways."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise _explain(error) from error

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise _explain(error) from error


def _explain(error: OSError) -> Exception:
    if error.errno == errno.EPIPE:
        return ReaderGone(error.errno, "stdout was closed by its reader")
    problem = "it is closed" if error.errno == errno.EBADF else error.strerror or str(error)
    return OutputError(error.errno, problem)


def prepare_streams() -> None:
    """Open what is closed of stdin, stdout and stderr, and have errors of stdout name it.

    A stream of a program that calls `main`, or of a test, is left as it is.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # For reading alone also as stdout: a write fails then, as it does without a stdout.
            opened = os.open(os.devnull, os.O_RDWR if number == 2 else os.O_RDONLY)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - for the whole program
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    if sys.stdout is None or sys.stdout is sys.__stdout__:
        encoding, lines = "utf-8", False
        if isinstance(sys.stdout, io.TextIOWrapper):
            with suppress(OSError):
                sys.stdout.flush()
            encoding, lines = sys.stdout.encoding, sys.stdout.line_buffering
        # A character that the encoding of the terminal lacks must not raise.
        raw = open(1, "wb", closefd=False)  # noqa: SIM115 - for the whole program
        sys.stdout = _Output(raw, encoding=encoding, errors="replace", line_buffering=lines)
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def discard_output(stream: TextIO) -> None:
    """Have the interpreter's last flush of a stream succeed: it would report the error once more."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def finish_streams() -> None:
    """Drop what stdout and stderr do not take, for which the interpreter would end with a code of its own.

    The command has named it and chosen its exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            discard_output(stream)

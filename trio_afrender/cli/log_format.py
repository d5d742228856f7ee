"""Forms of a line of the log: text for people, JSON for programs; priorities for systemd's journal. No I/O."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Protocol

import attrs

from trio_afrender.cli.log_events import MESSAGE
from trio_afrender.cli.terminal import clean
from trio_afrender.text import utc_time

__all__ = ("JsonLines", "LineForm", "TextLines", "is_journal", "priority_prefix", "read_level")

_SURROGATE = re.compile("[\ud800-\udfff]")
_PREFIXES = (("warning: ", logging.WARNING), ("trio_afrender: ", logging.ERROR))
"""Beginnings of lines that commands print, and their levels."""


class LineForm(Protocol):
    """Makes the lines of one record. Its `event` and `fields` are those of `log_events`."""

    def format(self, record: logging.LogRecord) -> list[str]: ...


@attrs.frozen
class TextLines:
    """Lines of text; the times are in UTC."""

    times: bool = True
    level: bool = True
    dated_messages: bool = True
    """Whether lines that the command prints have times as well."""

    def format(self, record: logging.LogRecord) -> list[str]:
        is_line = getattr(record, "event", "") == MESSAGE  # it names its level itself, if any
        timed = self.times and (self.dated_messages or not is_line)
        head = f"{utc_time(record.created)} " if timed else ""
        head += f"{record.levelname} " if self.level and not is_line else ""
        text = record.getMessage()
        if details := getattr(record, "exception", ""):
            text = f"{text}\n{details}"
        first, *others = text.split("\n")
        return [f"{head}{clean(first)}", *map(clean, others)]


@attrs.frozen
class JsonLines:
    """One JSON object for each record, in ASCII. docs/logging.md describes it."""

    program: str

    def format(self, record: logging.LogRecord) -> list[str]:
        when = datetime.fromtimestamp(record.created, UTC)
        text = record.getMessage()
        if getattr(record, "event", "") == MESSAGE:
            prefix = next((each for each, _ in _PREFIXES if text.startswith(each)), "")
            text = text.removeprefix(prefix)
        values: dict[str, object] = {
            "time": f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03}Z",
            "level": record.levelname.lower(),
            "event": getattr(record, "event", MESSAGE),
            "message": _to_text(text),
            "fields": {
                name: _to_text(value) if isinstance(value, str) else value
                for name, value in getattr(record, "fields", {}).items()
            },
            "program": self.program,
            "pid": os.getpid(),
            "logger": record.name,
        }
        if details := getattr(record, "exception", ""):
            values["exception"] = _to_text(details)
        return [json.dumps(values)]


def _to_text(text: str) -> str:
    r"""Return text of whole characters: bytes that are none become ``\xff``."""
    return _SURROGATE.sub(_show_surrogate, text)


def _show_surrogate(match: re.Match[str]) -> str:
    code = ord(match[0])
    # 0xDC80 to 0xDCFF are bytes that were not UTF-8 (PEP 383).
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def read_level(line: str) -> int:
    """Return the level of a line that a command prints."""
    return next((level for prefix, level in _PREFIXES if line.startswith(prefix)), logging.INFO)


def priority_prefix(level: int) -> str:
    """Return what the journal reads as the priority of a line (sd-daemon(3))."""
    known = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
    return next((f"<{number}>" for least, number in known if level >= least), "<7>")


def is_journal(environ: Mapping[str, str], descriptor: int) -> bool:
    """Whether an open file is the stream that systemd names in ``JOURNAL_STREAM``."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"

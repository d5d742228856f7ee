"""``--report FILE``: checked before the job, written after it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.errors import ConfigError
from trio_afrender.jobs.report import make_report
from trio_afrender.jobs.views import JobView
from trio_afrender.safe_files import write_whole

__all__ = ("check_output_file", "check_report", "write_report")


def check_report(text: str | None) -> Path | None:
    """Return the path of a report, ``-`` for stdout; raise `ConfigError` if it cannot be written."""
    if text is None or text == "-":
        return None if text is None else Path("-")
    return check_output_file("--report", text)


def check_output_file(option: str, text: str) -> Path:
    """Return the path of a file that is written after a job; raise `ConfigError` if it cannot be."""
    path = Path(text).expanduser().absolute()
    if path.is_dir():
        raise ConfigError(f"{option} {text}: this is a folder, give a file name")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ConfigError(f"{option} {text}: the folder {path.parent} is missing or not writable")
    return path


def write_report(view: JobView, report: Path) -> None:
    """Write the report of a job; ``-`` is stdout. Raises `ConfigError`."""
    text = json.dumps(make_report(view), indent=2) + "\n"
    if str(report) == "-":
        sys.stdout.write(text)
    else:
        # With the pid, so that two programs that write one report do not mix their texts.
        unfinished = report.with_name(f".{report.name}.{os.getpid()}")
        try:
            write_whole(report, text, unfinished=unfinished)
        except OSError as error:
            raise ConfigError(f"report {report}: {error.strerror or error}") from error
        print_line(f"report: {clean(str(report))}")

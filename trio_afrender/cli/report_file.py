"""``--report FILE``: known to be writable before the job, written whole after it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.errors import ConfigError
from trio_afrender.jobs.report import make_report
from trio_afrender.jobs.views import JobView

__all__ = ("check_report", "write_report")


def check_report(text: str | None) -> Path | None:
    """Find out before the job whether its report could be written after it."""
    if text is None or text == "-":
        return None if text is None else Path("-")
    path = Path(text).expanduser().absolute()
    if path.is_dir():
        raise ConfigError(f"--report {text}: is a folder")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ConfigError(f"--report {text}: the folder {path.parent} cannot be written to")
    return path


def write_report(view: JobView, report: Path) -> None:
    """Write the outcome of a job; ``-`` is stdout. Raises `ConfigError`."""
    text = json.dumps(make_report(view), indent=2) + "\n"
    if str(report) == "-":
        sys.stdout.write(text)
    else:
        _write_whole(report, text)
        print_line(f"report: {clean(str(report))}")


def _write_whole(path: Path, text: str) -> None:
    """Write a file that is never seen half. Raises `ConfigError`."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_text(text)
        partial.replace(path)
    except OSError as error:
        raise ConfigError(f"report {path}: {error.strerror or error}") from error

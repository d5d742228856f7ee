"""``--report FILE``: checked before the job, written after it; JSON, or a page if the name ends in .html."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from trio_afrender.cli.report_page import make_report_page
from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.errors import ConfigError
from trio_afrender.jobs.report import make_report
from trio_afrender.jobs.views import JobView
from trio_afrender.user_files import describe_unwritable, expand_home, write_user_file

__all__ = ("check_output_file", "check_reports", "raise_first", "write_reports")

_PAGE_SUFFIXES = (".html", ".htm")


def check_reports(texts: Sequence[str]) -> tuple[Path, ...]:
    """Return the paths of reports, ``-`` for stdout. Raises `ConfigError` for one that cannot be."""
    paths = [Path("-") if text == "-" else check_output_file("--report", text) for text in texts]
    files = [path.resolve() for path in paths]
    for number, text in enumerate(texts):
        if files[number] in files[:number]:
            raise ConfigError(f"--report {text}: given twice")
    return tuple(paths)


def check_output_file(option: str, text: str) -> Path:
    """Return the path of a file that is written after a job. Raises `ConfigError` if it cannot be."""
    path = expand_home(text).absolute()
    if not text or text.endswith("/"):
        raise ConfigError(f'{option} "{text}": give a file name')
    if problem := describe_unwritable(path):
        raise ConfigError(f"{option} {text}: {problem}")
    return path


def write_reports(view: JobView, reports: Iterable[Path]) -> list[str]:
    """Write the reports of a job; return a sentence for each one that cannot be written."""
    problems = []
    for report in reports:
        if report.suffix.casefold() in _PAGE_SUFFIXES:
            text = make_report_page(view)
        else:
            text = json.dumps(make_report(view), indent=2) + "\n"
        try:
            if str(report) == "-":
                sys.stdout.write(text)
                sys.stdout.flush()
            else:
                write_user_file(report, text.encode("utf-8", "replace"))
                print_line(f"report: {clean(str(report))}")
        except BrokenPipeError:
            raise  # `main` ends the program: the reader of its stdout has gone
        except OSError as error:
            name = "to stdout" if str(report) == "-" else str(report)
            problems.append(f"report {name}: {error.strerror or error}")
    return problems


def raise_first(problems: Sequence[str]) -> None:
    """Print all problems but the first, and raise that as a `ConfigError`, if there are any."""
    for problem in problems[1:]:
        print_line(f"trio_afrender: {clean(problem)}")
    if problems:
        raise ConfigError(problems[0])

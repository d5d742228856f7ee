"""Options of the commands that take a job file: run, submit, check job."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from trio_afrender.frame_ranges import parse_ranges
from trio_afrender.user_files import expand_home

if TYPE_CHECKING:
    from argparse import ArgumentParser

__all__ = ("JOB", "add_check_job", "add_run_options", "add_submit_options")

JOB: Mapping[str, Any] = {
    "type": expand_home,
    "metavar": "JOB.json",
    "help": "a job in Afanasy's JSON format; - for stdin",
}
_REPORT: Mapping[str, Any] = {
    "action": "append",
    "default": [],
    "metavar": "FILE",
    "help": "write the outcome of every task: as a page if the name ends in .html, else as JSON; "
    "- for stdout; can be repeated",
}


def _frames(text: str) -> tuple[range, ...]:
    try:
        return parse_ranges(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_run_options(
    parser: ArgumentParser, number: Callable[[int, int, str], Callable[[str], int]]
) -> None:
    """Add the options of ``run``. `number` makes the type of an option with a range."""
    add = parser.add_argument
    add("job", nargs="?", **JOB)
    text = "number of renders (default: 1)"
    add("--agents", type=number(1, 64, "1 to 64"), default=1, metavar="N", help=text)
    text = "further attempts of a task after an error (default: 1)"
    add("--retries", type=number(0, 1000, "0 to 1000"), default=1, metavar="N", help=text)
    add("--report", **_REPORT)
    add("--sheet", metavar="FILE", help="put all thumbnails on one picture, .png or .jpg")
    add("--no-progress", action="store_true", help="print the summary only")
    add("--keep", action="store_true", help="keep the folders of tasks, logs and thumbnails")
    text = "the folder for logs and folders of tasks (default: a temporary one)"
    add("--store", type=expand_home, metavar="DIR", help=text)
    text = "show what tasks print, as -v does; with TASK only of BLOCK or BLOCK:FRAMES"
    add("--follow", nargs="?", const="", metavar="TASK", help=text)

    which = parser.add_argument_group("which tasks")
    text = (
        "only this block, or its tasks with these frames (1-100, 1-100/2, 1,5,7-9); can be repeated"
    )
    which.add_argument("--only", action="append", default=[], metavar="BLOCK[:FRAMES]", help=text)
    text = "only tasks that this JSON report of an earlier run has not as done or skipped"
    which.add_argument("--only-failed", type=expand_home, metavar="REPORT", help=text)
    text = "run nothing: print the commands, folders and files of all tasks, in order"
    which.add_argument("--dry-run", action="store_true", help=text)

    quick = parser.add_argument_group("a command instead of a job file")
    text = "the command; @#@ stands for the frame number, @####@ for one with four digits"
    quick.add_argument("-c", "--command", dest="run_command", metavar="COMMAND", help=text)
    text = "a task for each: 1-100, 1-100/2 (every second one) or 1,5,7-9; --frames=-5-3 begins below 0"
    quick.add_argument("--frames", type=_frames, metavar="FRAMES", help=text)
    text = "frames of one task (default: 1)"
    quick.add_argument("--per-task", type=number(1, 200_000, "1 to 200000"), metavar="N", help=text)
    quick.add_argument("--service", metavar="NAME", help="its service (default: generic)")
    text = "its parser (default: the one that its service names)"
    quick.add_argument("--parser", metavar="NAME", help=text)
    text = "the job's name (default: the program's)"
    # Not `name`, which is the name of a render.
    quick.add_argument("--name", dest="job_name", metavar="NAME", help=text)


def add_submit_options(add: Callable[..., object]) -> None:
    """Add the options of ``submit``."""
    add("job", **JOB)
    text = "the job's user, if the file names none (default: AF_USERNAME, else your login name)"
    add("--user", "-username", help=text)
    add("--wait", action="store_true", help="show the progress until the job ends, as run does")
    add("--report", **{**_REPORT, "help": f"with --wait: {_REPORT['help']}"})
    add("--no-progress", action="store_true", help="with --wait: print the summary only")


def add_check_job(add: Callable[..., object]) -> None:
    """Add the options of ``check job``."""
    add("job", nargs="?", **JOB)
    add("--schema", action="store_true", help="print the JSON schema of job files")

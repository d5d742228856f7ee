"""The arguments of the commands that look at a farm and steer it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

__all__ = ("KINDS", "add_steering_commands")

KINDS = ("render", "job", "block", "task", "user", "pool")
"""Those of `afserver.editable_parameters`, which takes too long to import for ``--help``."""

_NODES = "names, masks as in a shell (render*), or ids"
_TASKS = "JOB, JOB.BLOCK, JOB.BLOCK.TASK or JOB.BLOCK.FIRST-LAST, each by number; jobs and blocks "
_TASKS += "also by name or mask"
_OF_RENDERS = (
    ("free", "let renders take jobs again: neither nimby nor NIMBY"),
    ("sleep", "send idle renders to sleep"),
    ("wake", "wake sleeping renders by packets to their network interfaces"),
    ("recover", "let sick renders take tasks again"),
)
_DANGEROUS_OF_RENDERS = (
    ("exit", "end the agents of renders"),
    ("reboot", "reboot the hosts of renders, where they allow it"),
    ("shutdown", "switch the hosts of renders off, where they allow it"),
)
_KINDED = (
    ("pause", "start no more tasks of jobs; also of users, of a pool, or on renders", False),
    ("start", "undo pause and stop of jobs; also of users, a pool, renders", False),
    ("delete", "delete jobs; also offline renders, or users without jobs", True),
)
_RESTARTS = (
    ("errors", "only those with errors"),
    ("running", "only the running ones"),
    ("skipped", "only the skipped ones"),
    ("done", "only the done ones"),
    ("warnings", "only the done ones with warnings"),
    ("pause", "all, and pause the job"),
)


def add_steering_commands(
    add_command: Callable[..., Any],
    option: Callable[..., Any],
    server: argparse.ArgumentParser,
    period: Callable[[str], float],
) -> None:
    """Add the commands. `option` makes a parser with one option, `server` has that of the farm.

    `period` reads seconds.
    """
    as_json = option("--json", action="store_true", help="print JSON")
    watch = option(
        "--watch",
        nargs="?",
        type=period,
        const=2.0,
        metavar="SECONDS",
        help="repeat every SECONDS (default: 2) until Ctrl-C, in place on a terminal",
    )
    yes = option("--yes", action="store_true", help="do not ask")

    def add(name: str, text: str, *more: Any, module: str = "steer") -> Any:  # noqa: ANN401 - as argparse has it
        parser = add_command(name, text, server, as_json, *more)
        parser.set_defaults(module=module)
        return parser

    _add_looking(add, watch)
    text = "set parameters of renders, jobs, blocks, tasks, users or pools"
    parser = add("set", text, module="set")
    parser.add_argument("kind", choices=KINDS, metavar="KIND", help=", ".join(KINDS))
    text = f"names, then parameters: {_NODES}; blocks: JOB.BLOCK; tables: folders.output=/srv"
    parser.add_argument("names", nargs="+", metavar="NAME ... key=value", help=text)

    def names(parser: Any, metavar: str, text: str) -> None:  # noqa: ANN401 - as above
        parser.add_argument("names", nargs="+", metavar=metavar, help=text)

    for name, text in (
        ("nimby", "let renders take only their owners' jobs"),
        ("NIMBY", "let renders take no jobs"),
    ):
        names(add(f"{name} RENDER", text), "RENDER", _NODES)
    for name, text in _OF_RENDERS:
        names(add(name, text), "RENDER", _NODES)
    for name, text in _DANGEROUS_OF_RENDERS:
        names(add(name, text, yes), "RENDER", _NODES)
    parser = add("eject", "take the running tasks of renders back; they start again elsewhere", yes)
    names(parser, "RENDER", _NODES)
    text = "leave those of your own jobs"
    parser.add_argument("--keep-mine", action="store_true", help=text)
    for name, text, asks in _KINDED:
        text_of_names = f"jobs: {_NODES}; with the first word render, user or pool: those"
        names(add(name, text, *([yes] if asks else [])), "NAME", text_of_names)
    text = "pause jobs and take their running tasks back"
    names(add("stop", text, yes), "JOB", _NODES)
    names(add("skip", "skip tasks"), "TASK", _TASKS)
    text = "restart failed tasks, also on renders that were avoided after errors"
    names(add("retry", text), "TASK", _TASKS)
    parser = add("restart", "restart tasks, by default all", yes)
    names(parser, "TASK", _TASKS)
    which = parser.add_mutually_exclusive_group()
    for name, text in _RESTARTS:
        which.add_argument(f"--{name}", action="store_true", help=text)


def _add_looking(add: Callable[..., Any], watch: argparse.ArgumentParser) -> None:
    text = "print the renders of a farm, their states and what they run"
    names = add("renders", text, watch, module="renders").add_argument
    names("names", nargs="*", metavar="RENDER", help=f"{_NODES} (default: all)")

    parser = add("jobs", "print the jobs of a farm", watch, module="jobs")
    parser.add_argument("names", nargs="*", metavar="JOB", help=f"{_NODES} (default: all)")
    parser.add_argument("--of-user", metavar="NAME", help="only jobs of this user")
    text = "also hidden jobs, and the server's own"
    parser.add_argument("--all", action="store_true", help=text)
    text = "print what the waiting tasks wait for, render by render"
    parser.add_argument("--why", action="store_true", help=text)

    parser = add("tasks", "print the tasks of jobs", watch, module="tasks")
    parser.add_argument("names", nargs="+", metavar="JOB", help=_TASKS)
    text = "only tasks in these states, as in RUN,ERR"
    parser.add_argument("--state", action="append", default=[], metavar="STATES", help=text)

    parser = add("output", "print what a task has printed", module="output")
    parser.add_argument("task", metavar="TASK", help="JOB.BLOCK.TASK")
    text = "wait for the task, and print its output as it comes, until it is over"
    parser.add_argument("--follow", "-f", action="store_true", help=text)
    text = "of an earlier run, counted from 1 (default: the last one)"
    parser.add_argument("--run", type=int, default=0, dest="attempt", metavar="N", help=text)

    parser = add("log", "print what has happened to a node, and who asked for it", module="log")
    kinds = [kind for kind in KINDS if kind != "block"]
    parser.add_argument("kind", choices=kinds, metavar="KIND", help=", ".join(kinds))
    parser.add_argument("names", nargs="+", metavar="NAME", help=f"{_NODES}; tasks: {_TASKS}")
    text = "of renders: which tasks they have started and ended"
    parser.add_argument("--tasks", action="store_true", help=text)

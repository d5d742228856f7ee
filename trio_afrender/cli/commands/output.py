"""``trio_afrender output TASK``: what a task has printed; with ``--follow`` as it prints it."""

from __future__ import annotations

import sys
from argparse import Namespace

import trio

from trio_afrender.afserver.apply_changes import fetch_tasks
from trio_afrender.afserver.node_selection import select_tasks
from trio_afrender.afserver.remote_farm import RemoteFarm
from trio_afrender.afserver.remote_nodes import TaskNode
from trio_afrender.cli.find_farm import ask_farm, find_remote_farm
from trio_afrender.cli.signals import open_signals
from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.errors import ConfigError
from trio_afrender.text import count_text, without_escapes

__all__ = ("find_one_task", "run")


def run(options: Namespace) -> int:
    """Print the output of a task; return 1 if there is none. Raises `AfRenderError`."""
    if options.attempt < 0:
        raise ConfigError(f"--run: expected 1 or more, got {options.attempt}")
    if options.follow and options.attempt:
        raise ConfigError("--follow is for the run in progress, and --run N for one that has ended")
    return ask_farm(_print_output, find_remote_farm(options), options)


async def _print_output(farm: RemoteFarm, options: Namespace) -> int:
    task = await find_one_task(farm, options.task)
    if task is None:
        return 1
    if options.follow:
        following = trio.CancelScope()
        async with open_signals(lambda _count, _name: following.cancel()):
            with following:
                if not task.running and not task.over:
                    words = " ".join(task.states)
                    print_line(f"task {task.key} does not run yet: {words}; waiting")
                await farm.follow_output(task, _write)
        return 0
    if not task.starts or options.attempt > task.starts:
        starts = (
            f"was started {count_text(task.starts, 'time')}"
            if task.starts
            else "was not started yet"
        )
        print_line(f"trio_afrender: task {task.key} {starts}: it has no such output")
        return 1
    if task.running and options.attempt in (0, task.starts):
        text = await farm.running_output(task)
    else:
        text = await farm.task_text(task, "output", run=options.attempt)
    if text:
        _write(text)
    else:
        print_line(f"task {task.key} has printed nothing")
    return 0


def _write(text: str) -> None:
    # What programs print must not control this terminal, beyond its lines.
    lines = without_escapes(text).split("\n")
    shown = "\n".join(
        "\r".join("\t".join(map(clean, part.split("\t"))) for part in line.split("\r"))
        for line in lines
    )
    sys.stdout.write(shown)
    sys.stdout.flush()


async def find_one_task(farm: RemoteFarm, word: str) -> TaskNode | None:
    """Find the one task that a word means; None after a line that says why there is none.

    Raises `ConfigError` for a word that means several.
    """
    selected, problems = select_tasks(await farm.jobs(), [word])
    count = sum(each.count for each in selected)
    if count > 1:
        first = f"{selected[0].job.id}.{selected[0].block.number}.0"
        raise ConfigError(f'"{word}" has {count} tasks: give one of them, such as {first}')
    tasks = await fetch_tasks(farm, selected)
    if tasks:
        return tasks[0]
    print_line(f"trio_afrender: {clean(problems[0] if problems else f'no task {word}')}")
    return None

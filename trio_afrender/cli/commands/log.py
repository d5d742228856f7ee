"""``trio_afrender log KIND NAME``: what has happened to a node of a farm, and who asked for it."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterable

from trio_afrender.afserver.apply_changes import fetch_tasks, list_nodes, show_node
from trio_afrender.afserver.editable_parameters import NODE_TYPES
from trio_afrender.afserver.node_selection import select_nodes, select_tasks
from trio_afrender.afserver.remote_farm import RemoteFarm
from trio_afrender.cli.find_farm import ask_farm, find_remote_farm
from trio_afrender.cli.terminal import clean, print_line, write_line
from trio_afrender.errors import ConfigError

__all__ = ("run",)

_MAX_TASKS = 100
"""Tasks whose logs one command prints."""


def run(options: Namespace) -> int:
    """Print logs; return 1 if a word selects nothing. Raises `AfRenderError`."""
    if options.tasks and options.kind != "render":
        raise ConfigError("--tasks is for renders: which tasks they have started and ended")
    return ask_farm(_print_logs, find_remote_farm(options), options)


async def _print_logs(farm: RemoteFarm, options: Namespace) -> int:
    found: list[tuple[str, list[str]]] = []
    if options.kind == "task":
        selected, problems = select_tasks(await farm.jobs(), options.names)
        tasks = await fetch_tasks(farm, selected)
        if len(tasks) > _MAX_TASKS:
            raise ConfigError(f"{len(tasks)} tasks are selected, at most {_MAX_TASKS} are printed")
        for task in tasks:
            text = await farm.task_text(task, "log")
            found.append((f'task {task.key} "{task.name}"', _split([text] if text else [])))
    else:
        nodes, problems = select_nodes(
            await list_nodes(farm, options.kind), options.names, options.kind
        )
        for node in nodes:
            if options.tasks:
                entries = await farm.tasks_log(node.id)
            else:
                entries = await farm.node_log(NODE_TYPES[options.kind], node.id)
            found.append((show_node(options.kind, node), _split(entries)))
    if options.json:
        data = [{"name": name, "lines": lines} for name, lines in found]
        sys.stdout.write(json.dumps(data, indent=2) + "\n")
    else:
        for name, lines in found:
            if len(found) > 1:
                write_line((clean(name), "bold"))
            sys.stdout.write("".join(f"{clean(line)}\n" for line in lines))
            sys.stdout.flush()
            if not lines:
                print_line(f"{clean(name)}: its log is empty")
    print_line(*(clean(f"trio_afrender: {each}") for each in problems))
    return 1 if problems else 0


def _split(entries: Iterable[str]) -> list[str]:
    """The lines of entries: one may have several."""
    return [line.rstrip() for entry in entries for line in entry.rstrip("\n").split("\n")]

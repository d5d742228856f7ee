"""Changes nodes of a farm for the commands: find them, ask, do it, read back, and report.

Each command prints what it has done to stderr, or with ``--json`` an object to stdout.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import Any

from trio_afrender.afserver.apply_changes import (
    ChangeReport,
    apply_change,
    apply_task_change,
    describe_danger,
    fetch_tasks,
    find_possible,
    identify,
    list_nodes,
    show_node,
)
from trio_afrender.afserver.node_changes import Change, TaskChange
from trio_afrender.afserver.node_selection import select_nodes, select_tasks
from trio_afrender.afserver.remote_farm import RemoteFarm
from trio_afrender.cli.confirmation import Declined, confirm
from trio_afrender.cli.find_farm import ask_farm, find_remote_farm
from trio_afrender.cli.terminal import clean, print_line

__all__ = ("change_nodes", "change_tasks", "run_change")


def run_change(options: Namespace, do: Callable[[RemoteFarm, Namespace, ChangeReport], Any]) -> int:
    """Run an async change with the farm of a command; return the exit code.

    Raises `AfRenderError`.
    """
    farm = find_remote_farm(options)
    report = ChangeReport()
    try:
        ask_farm(do, farm, options, report)
    except Declined:
        print_line("nothing was done")
        return 1
    if options.json:
        found = {"done": report.done, "problems": report.problems, "server": farm.url}
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        print_line(*(clean(f"{each} on {farm.url}") for each in report.sentences))
    print_line(*(clean(each) for each in dict.fromkeys(report.hints)))
    print_line(*(clean(f"trio_afrender: {each}") for each in report.problems))
    return 1 if report.problems else 0


async def change_nodes(
    farm: RemoteFarm, options: Namespace, report: ChangeReport, *, kind: str, change: Change
) -> None:
    """Do one change with the nodes that `options.names` select."""
    nodes, problems = select_nodes(await list_nodes(farm, kind), options.names, kind)
    report.problems += problems
    nodes, problems = find_possible(kind, nodes, change)
    report.problems += problems
    if not nodes:
        return
    if change.danger is not None:
        lost = sum(map(change.danger, nodes))
        names = [show_node(kind, node) for node in nodes]
        on = f" on {farm.url}"
        text = describe_danger(options.command, names, lost, change.counted, where=on)
        confirm(text, yes=options.yes)
        if not options.yes:
            # The answer may have taken a while.
            now = {node.id: identify(node) for node in await list_nodes(farm, kind)}
            report.problems += [
                f"{show_node(kind, node)} is gone meanwhile"
                for node in nodes
                if now.get(node.id) != identify(node)
            ]
            nodes = [node for node in nodes if now.get(node.id) == identify(node)]
    await apply_change(farm, kind, nodes, change, report)


async def change_tasks(
    farm: RemoteFarm,
    options: Namespace,
    report: ChangeReport,
    *,
    changes: Sequence[TaskChange],
) -> None:
    """Do changes with the tasks that `options.names` select."""
    selected, problems = select_tasks(await farm.jobs(), options.names)
    report.problems += problems
    if not selected:
        return
    tasks = await fetch_tasks(farm, selected)
    for change in changes:
        if change.danger is not None and (lost := sum(map(change.danger, tasks))):
            names = [each.name for each in selected]
            on = f" on {farm.url}"
            text = describe_danger(options.command, names, lost, change.counted, where=on)
            confirm(text, yes=options.yes)
            if not options.yes:
                serials = {job.id: job.serial for job in await farm.jobs()}
                gone = {
                    each.job.id for each in selected if serials.get(each.job.id) != each.job.serial
                }
                report.problems += [f"job {number} is gone meanwhile" for number in gone]
                selected = [each for each in selected if each.job.id not in gone]
        await apply_task_change(farm, selected, change, report)

"""Changes nodes of a farm for the commands: find them, ask, do it, read back, and report.

Each command prints what it has done to stderr, or with ``--json`` an object to stdout.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import attrs
import trio

from trio_afrender.afserver.editable_parameters import NODE_TYPES
from trio_afrender.afserver.node_selection import TaskSelection, select_nodes, select_tasks
from trio_afrender.afserver.remote_farm import RemoteFarm
from trio_afrender.afserver.remote_nodes import JobNode
from trio_afrender.cli.commands.tasks import fetch_tasks
from trio_afrender.cli.confirmation import Declined, confirm
from trio_afrender.cli.find_farm import explain_no_farm, find_remote_farm
from trio_afrender.cli.node_changes import Change, Node, TaskChange
from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.errors import LinkLost, LinkRefused

__all__ = (
    "ChangeReport",
    "change_nodes",
    "change_tasks",
    "group_by_hidden",
    "list_nodes",
    "quote_names",
    "run_change",
    "show_node",
)

_NAMED = 5
"""Names that a sentence has."""


@attrs.define(slots=True)
class ChangeReport:
    """The outcome of a command. The exit code is 1 if there is a problem."""

    done: list[Mapping[str, object]] = attrs.field(factory=list)
    names: dict[str, list[str]] = attrs.field(factory=dict)
    """For people: what was done -> with what."""
    problems: list[str] = attrs.field(factory=list)
    hints: list[str] = attrs.field(factory=list)

    def add(self, did: str, name: str, *nodes: Mapping[str, object]) -> None:
        """Note what is done."""
        self.names.setdefault(did, []).append(name)
        self.done += nodes

    def note(self, did: str, shown: str, done: Mapping[str, object], problem: str) -> None:
        """Note that something was done with a node, or the problem, if there is one."""
        if problem:
            self.problems.append(f"{shown}: {problem}")
        else:
            self.add(did, shown, done)

    def write(self, farm: RemoteFarm, *, as_json: bool) -> int:
        """Write it; return the exit code."""
        if as_json:
            found = {"done": self.done, "problems": self.problems, "server": farm.url}
            sys.stdout.write(json.dumps(found, indent=2) + "\n")
        else:
            for did, names in self.names.items():
                print_line(clean(f"{did} {quote_names(names)} on {farm.url}"))
        print_line(*(clean(each) for each in dict.fromkeys(self.hints)))
        print_line(*(clean(f"trio_afrender: {each}") for each in self.problems))
        return 1 if self.problems else 0


def quote_names(names: Sequence[str]) -> str:
    """Return some names, and how many there are."""
    if len(names) <= _NAMED:
        return ", ".join(names)
    return f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED} more ({len(names)})"


def run_change(options: Namespace, do: Callable[[RemoteFarm, Namespace, ChangeReport], Any]) -> int:
    """Run an async change with the farm of a command; return the exit code.

    Raises `AfRenderError`.
    """
    farm = find_remote_farm(options)
    report = ChangeReport()
    try:
        trio.run(partial(do, farm, options, report))
    except LinkLost as error:
        raise explain_no_farm(error) from error
    except Declined:
        print_line("nothing was done")
        return 1
    return report.write(farm, as_json=options.json)


async def list_nodes(farm: RemoteFarm, kind: str) -> list[Node]:
    """List all nodes of a kind."""
    if kind == "render":
        return [*await farm.renders()]
    if kind == "user":
        return [*await farm.users()]
    if kind == "pool":
        return [*(await farm.pools()).values()]
    return [*await farm.jobs()]


def show_node(kind: str, node: Node) -> str:
    """The name of a node for people."""
    return f'job {node.id} "{node.name}"' if kind == "job" else f"{kind} {node.name}"


def _identity(node: Node) -> object:
    # Ids are used again: only the serial tells a job from a later one. Others have unique names.
    return node.serial if isinstance(node, JobNode) else node.name


async def change_nodes(
    farm: RemoteFarm, options: Namespace, report: ChangeReport, *, kind: str, change: Change
) -> None:
    """Do one change with the nodes that `options.names` select."""
    nodes, problems = select_nodes(await list_nodes(farm, kind), options.names, kind)
    report.problems += problems
    possible = []
    for node in nodes:
        if problem := change.before(node):
            report.problems.append(f"{show_node(kind, node)}: {problem}")
        else:
            possible.append(node)
    nodes = possible
    if not nodes:
        return
    if change.danger is not None:
        lost = sum(map(change.danger, nodes))
        what = f": {lost} {change.counted}" if lost else ""
        names = quote_names([show_node(kind, node) for node in nodes])
        asked = not options.yes
        confirm(f"{options.command} {names} on {farm.url}{what}", yes=options.yes)
        if asked:
            # The answer may have taken a while.
            now = {node.id: _identity(node) for node in await list_nodes(farm, kind)}
            report.problems += [
                f"{show_node(kind, node)} is gone meanwhile"
                for node in nodes
                if now.get(node.id) != _identity(node)
            ]
            nodes = [node for node in nodes if now.get(node.id) == _identity(node)]
    refusal = await _apply(farm, kind, nodes, change)
    await _check_after(farm, kind, nodes, change, report, refusal)


async def _apply(farm: RemoteFarm, kind: str, nodes: Sequence[Node], change: Change) -> str:
    """Ask the server; return its refusal, '' if it did not refuse."""
    refusal = ""
    for group, params in group_by_hidden(nodes, change.params):
        ids = [node.id for node in group]
        try:
            await farm.act(NODE_TYPES[kind], ids, params=params, operation=change.operation)
            if change.then is not None:
                await farm.act(NODE_TYPES[kind], ids, operation=change.then)
        except LinkRefused as error:
            refusal = error.reason
    return refusal


def group_by_hidden(
    nodes: Sequence[Node], params: Mapping[str, object] | None
) -> Iterator[tuple[list[Node], Mapping[str, object] | None]]:
    """Yield nodes with the parameters to send. A server shows a hidden node again with any
    parameter that is set, unless the request says hidden."""
    others: list[Node] = []
    hidden: list[Node] = []
    for node in nodes:
        (hidden if params and node.fields.get("hidden") is True else others).append(node)
    if others:
        yield others, params
    if hidden and params:
        yield hidden, {"hidden": True, **params}


async def _check_after(
    farm: RemoteFarm,
    kind: str,
    nodes: Sequence[Node],
    change: Change,
    report: ChangeReport,
    refusal: str,
) -> None:
    """Read the nodes back. After a refusal some of them may have changed nevertheless."""
    now = {node.id: node for node in await list_nodes(farm, kind)}
    for node in nodes:
        found = now.get(node.id)
        problem = ""
        if found is None or _identity(found) != _identity(node):
            problem = "" if change.gone else "it is gone meanwhile"
        else:
            problem = change.after(found)
            report.hints += [hint for hint in (change.hint(found),) if hint and not problem]
        if refusal and (problem or len(nodes) == 1):
            problem = f"refused: {refusal}"
        done = {"kind": kind, "id": node.id, "name": node.name}
        report.note(change.did, show_node(kind, node), done, problem)
    if refusal and not report.problems:
        report.problems.append(f"refused: {refusal}")


# Tasks


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
            names = quote_names([each.name for each in selected])
            text = f"{options.command} {names} on {farm.url}: {lost} {change.counted}"
            asked = not options.yes
            confirm(text, yes=options.yes)
            if asked:
                serials = {job.id: job.serial for job in await farm.jobs()}
                gone = {
                    each.job.id for each in selected if serials.get(each.job.id) != each.job.serial
                }
                report.problems += [f"job {number} is gone meanwhile" for number in gone]
                selected = [each for each in selected if each.job.id not in gone]
        await _change_selected(farm, selected, change, report)


async def _change_selected(
    farm: RemoteFarm, selected: Sequence[TaskSelection], change: TaskChange, report: ChangeReport
) -> None:
    refusals: dict[str, str] = {}
    for each in selected:
        numbers: Mapping[str, object] = {} if each.tasks is None else {"task_ids": [*each.tasks]}
        for operation in filter(None, (change.operation, change.then)):
            try:
                await farm.act(
                    "jobs", [each.job.id], blocks=[each.block.number],
                    operation={**operation, **numbers},
                )  # fmt: skip
            except LinkRefused as error:
                refusals[each.name] = error.reason
    tasks = await fetch_tasks(farm, selected)
    for each in selected:
        mine = [
            task
            for task in tasks
            if (task.job, task.block) == (each.job.id, each.block.number)
            and (each.tasks is None or task.task in each.tasks)
        ]
        missed = [(task, problem) for task in mine if (problem := change.after(task))]
        if each.name in refusals:
            report.problems.append(f"{each.name}: refused: {refusals[each.name]}")
        elif not mine:
            report.problems.append(f"{each.name}: it is gone meanwhile")
        elif missed:
            more = f" (and {len(missed) - 1} more)" if len(missed) > 1 else ""
            report.problems.append(f"{missed[0][0].key}: {missed[0][1]}{more}")
        else:
            done = [{"kind": "task", "id": task.key, "name": task.name} for task in mine]
            report.add(change.did, each.name, *done)

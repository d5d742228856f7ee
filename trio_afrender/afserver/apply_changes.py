"""Apply changes to nodes of a farm, read the nodes back, and say what did not take.

Who is asked before, and where the report is shown, is up to the caller.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import attrs

from trio_afrender.afserver.editable_parameters import NODE_TYPES
from trio_afrender.afserver.node_changes import Change, Node, TaskChange
from trio_afrender.afserver.node_selection import TaskSelection
from trio_afrender.afserver.remote_farm import RemoteFarm
from trio_afrender.afserver.remote_nodes import JobNode, TaskNode
from trio_afrender.errors import JobGone, LinkRefused
from trio_afrender.text import count_text

__all__ = (
    "ChangeReport",
    "apply_change",
    "apply_task_change",
    "describe_danger",
    "fetch_tasks",
    "find_possible",
    "group_by_hidden",
    "identify",
    "list_nodes",
    "quote_names",
    "show_node",
)

_NAMED = 5
"""Names that a sentence has."""


@attrs.define(slots=True)
class ChangeReport:
    """The outcome of a change."""

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

    @property
    def sentences(self) -> list[str]:
        """What was done, with the names of some nodes."""
        return [f"{did} {quote_names(names)}" for did, names in self.names.items()]


def quote_names(names: Sequence[str]) -> str:
    """Return some names, and how many there are."""
    if len(names) <= _NAMED:
        return ", ".join(names)
    return f"{', '.join(names[:_NAMED])} and {len(names) - _NAMED} more ({len(names)})"


async def list_nodes(farm: RemoteFarm, kind: str, ids: Sequence[int] = ()) -> list[Node]:
    """List nodes of a kind, by default all. Of users and pools, which are few, always all."""
    if kind == "render":
        return [*await farm.renders(ids=ids)]
    if kind == "user":
        return [*await farm.users()]
    if kind == "pool":
        return [*(await farm.pools()).values()]
    return [*await farm.jobs(ids=ids)]


def show_node(kind: str, node: Node) -> str:
    """The name of a node for people."""
    return f'job {node.id} "{node.name}"' if kind == "job" else f"{kind} {node.name}"


def identify(node: Node) -> object:
    """What tells a node from a later one with the same id."""
    # Ids are used again: only the serial tells a job from a later one. Others have unique names.
    return node.serial if isinstance(node, JobNode) else node.name


def find_possible(kind: str, nodes: Sequence[Node], change: Change) -> tuple[list[Node], list[str]]:
    """Split nodes: those with which a change can be done, and a sentence for each other one."""
    possible: list[Node] = []
    problems = []
    for node in nodes:
        if problem := change.before(node):
            problems.append(f"{show_node(kind, node)}: {problem}")
        else:
            possible.append(node)
    return possible, problems


def describe_danger(
    verb: str, names: Sequence[str], lost: int, counted: str, *, where: str = ""
) -> str:
    """What a change is about to do, and how many tasks it costs.

    `counted` is the noun for one of them; words behind a comma are for any number.
    """
    noun, comma, more = counted.partition(",")
    what = f": {count_text(lost, noun)}{comma}{more}" if lost else ""
    return f"{verb} {quote_names(names)}{where}{what}"


async def apply_change(
    farm: RemoteFarm, kind: str, nodes: Sequence[Node], change: Change, report: ChangeReport
) -> None:
    """Do one change with nodes, and read them back."""
    refusal, before = "", len(report.problems)
    for group, params in group_by_hidden(nodes, change.params):
        ids = [node.id for node in group]
        try:
            await farm.act(NODE_TYPES[kind], ids, params=params, operation=change.operation)
            if change.then is not None:
                await farm.act(NODE_TYPES[kind], ids, operation=change.then)
        except LinkRefused as error:
            refusal = error.reason
    # Also after a refusal: an id that is unknown makes one, and the other nodes have changed.
    ids = [node.id for node in nodes]
    now = {node.id: node for node in await list_nodes(farm, kind, ids)}
    for node in nodes:
        found = now.get(node.id)
        problem = ""
        if found is None or identify(found) != identify(node):
            problem = "" if change.gone else "it is gone meanwhile"
        else:
            problem = change.after(found)
            report.hints += [hint for hint in (change.hint(found),) if hint and not problem]
        if refusal and (problem or len(nodes) == 1):
            problem = f"refused: {refusal}"
        done = {"kind": kind, "id": node.id, "name": node.name}
        report.note(change.did, show_node(kind, node), done, problem)
    if refusal and len(report.problems) == before:
        report.problems.append(f"refused: {refusal}")


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


async def apply_task_change(
    farm: RemoteFarm, selected: Sequence[TaskSelection], change: TaskChange, report: ChangeReport
) -> None:
    """Do one change with tasks."""
    refusals: dict[str, str] = {}
    for each in selected:
        # A request for each block: the numbers of tasks are those within one block.
        numbers: Mapping[str, object] = {} if each.tasks is None else {"task_ids": [*each.tasks]}
        for operation in filter(None, (change.operation, change.then)):
            try:
                await farm.act(
                    "jobs", [each.job.id], blocks=[each.block.number],
                    operation={**operation, **numbers},
                )  # fmt: skip
            except LinkRefused as error:
                # The others are still asked for: a refusal of one says nothing of them.
                refusals[each.name] = error.reason
    tasks = await fetch_tasks(farm, selected)
    for each in selected:
        wanted = None if each.tasks is None else {*each.tasks}
        mine = [
            task
            for task in tasks
            if (task.job, task.block) == (each.job.id, each.block.number)
            and (wanted is None or task.task in wanted)
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


async def fetch_tasks(farm: RemoteFarm, selected: Sequence[TaskSelection]) -> list[TaskNode]:
    """Fetch the selected tasks, with their names. Jobs that were deleted meanwhile are left out."""
    tasks: dict[tuple[int, int, int], TaskNode] = {}
    for number in dict.fromkeys(each.job.id for each in selected):
        mine = [each for each in selected if each.job.id == number]
        try:
            found = await farm.selected_tasks(mine)
        except JobGone:
            continue
        tasks.update(((task.job, task.block, task.task), task) for task in found)
    return list(tasks.values())

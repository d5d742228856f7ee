"""What the page changes: the verbs of the commands, with a preview before and a way back after.

Nodes are read from the farm for each request, so that a preview describes what would be done now.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import attrs

from trio_afrender.afserver.apply_changes import (
    ChangeReport,
    apply_change,
    apply_task_change,
    describe_danger,
    fetch_tasks,
    find_possible,
    identify,
    list_nodes,
    quote_names,
    show_node,
)
from trio_afrender.afserver.editable_parameters import (
    Setting,
    parse_settings,
    present_value,
    settings_of,
)
from trio_afrender.afserver.node_changes import (
    RESTARTS,
    TASK_CHANGES,
    VERBS,
    Node,
    TaskChange,
    make_restart,
    make_task_restart,
)
from trio_afrender.afserver.node_selection import TaskSelection
from trio_afrender.afserver.remote_farm import RemoteFarm
from trio_afrender.afserver.remote_nodes import RenderNode, TaskNode
from trio_afrender.afserver.set_parameters import check_block_masks, set_blocks, set_nodes
from trio_afrender.errors import ConfigError
from trio_afrender.text import count_text, shorten, suggest

__all__ = ("BegunChange", "PageChange", "Steering", "describe_actions", "read_change")

MAX_NODES = 10_000
_MAX_VALUES = 100
_SHOWN_PROBLEMS = 20
_TASK = re.compile(r"(\d{1,9})\.(\d{1,9})(?:\.(\d{1,9}))?")
_MAX_ID = 2**31 - 1
_SINGLE_WORDS = {"eject --keep-mine": "eject-others", "skipped=false": "restart-skipped"}

_TASK_VERBS: Mapping[str, TaskChange] = {
    "skip": TASK_CHANGES["skip"],
    "retry": TASK_CHANGES["retry"],
    "restart": make_task_restart(""),
    **{
        f"restart-{each}": make_task_restart(each)
        for each in ("errors", "running", "skipped", "done")
    },
    "suspend": TASK_CHANGES["suspended=true"],
    "continue": TASK_CHANGES["suspended=false"],
    "next": TASK_CHANGES["next=true"],
    "not-next": TASK_CHANGES["next=false"],
    "done": TASK_CHANGES["done=true"],
}
_LABELS = {
    "nimby": "Nimby: own jobs only",
    "NIMBY": "NIMBY: no jobs",
    "eject": "Eject tasks",
    "eject-others": "Eject tasks of others",
    "recover": "Clear sickness",
    "wake": "Wake",
    "restart": "Restart all",
    "restart-errors": "Restart failed",
    "restart-running": "Restart running",
    "restart-skipped": "Restart skipped",
    "restart-done": "Restart done",
    "restart-warnings": "Restart with warnings",
    "restart-pause": "Restart and pause",
    "not-next": "Back in order",
    "next": "Try next",
    "done": "Set done",
    "set": "Set parameters",
}
_INVERSE = {
    ("render", "pause"): "start",
    ("render", "start"): "pause",
    ("user", "pause"): "start",
    ("user", "start"): "pause",
    ("pool", "pause"): "start",
    ("pool", "start"): "pause",
    ("job", "pause"): "start",
    ("job", "start"): "pause",
    ("job", "stop"): "start",
    ("task", "skip"): "restart-skipped",
    ("task", "suspend"): "continue",
    ("task", "continue"): "suspend",
    ("task", "next"): "not-next",
    ("task", "not-next"): "next",
    ("render", "sleep"): "wake",
}
_BEFORE: Mapping[str, Callable[[TaskNode], bool]] = {
    "skip": lambda task: not ({"SKP", "DON"} & {*task.states}),
    "suspend": lambda task: "SUS" not in task.states and not task.over,
    "continue": lambda task: "SUS" in task.states,
    "next": lambda task: "TRY" not in task.states and not task.over,
    "not-next": lambda task: "TRY" in task.states,
}
"""Whether a verb changes a task, so that undoing it concerns that task."""


_NODE_VERBS = {
    kind: {
        _SINGLE_WORDS.get(verb, verb): changes[kind]
        for verb, changes in VERBS.items()
        if kind in changes
    }
    for kind in ("job", "render", "user", "pool")
}
_NODE_VERBS["job"] |= {
    f"restart-{which}" if which else "restart": make_restart(which) for which in RESTARTS
}
KINDS = ("job", "block", "task", "render", "user", "pool")


def _verbs_of(kind: str) -> tuple[str, ...]:
    if kind == "task":
        return tuple(_TASK_VERBS)
    if kind == "block":
        return (*_TASK_VERBS, "set")
    return (*_NODE_VERBS[kind], "set")


def describe_actions() -> dict[str, object]:
    """What can be done and set, for the page."""
    verbs = []
    for kind in KINDS:
        for verb in _verbs_of(kind):
            change = (
                _TASK_VERBS.get(verb) if kind in ("task", "block") else _NODE_VERBS[kind].get(verb)
            )
            label = _LABELS.get(verb) or verb.replace("-", " ").capitalize()
            asks = change is not None and change.danger is not None
            verbs.append({"kind": kind, "verb": verb, "label": label, "asks": asks})
    settings = {
        kind: [_describe_setting(name, each) for name, each in settings_of(kind).items()]
        for kind in KINDS
        if kind != "task"
    }
    return {"verbs": verbs, "settings": settings}


def _describe_setting(name: str, setting: Setting) -> dict[str, object]:
    expected = setting.expected
    made: dict[str, object] = {"name": name, "expected": expected, "table": setting.table}
    if setting.table:
        return {**made, "type": "table"}
    if expected.startswith("a whole number"):
        return {**made, "type": "integer"}
    if expected == "true or false":
        return {**made, "type": "flag"}
    if expected == "names with commas between":
        return {**made, "type": "names"}
    if " or " in expected:
        return {**made, "type": "choice", "choices": expected.split(" or ")}
    return {**made, "type": "text"}


@attrs.frozen(slots=True, kw_only=True)
class PageChange:
    """What a request asks for, or what takes such a change back: a verb, or parameters to set."""

    kind: str
    verb: str
    nodes: Sequence[tuple[str, object]]
    """Id as text, and what tells the node from a later one with this id: None is not checked."""
    params: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(slots=True, kw_only=True)
class BegunChange:
    """A change that the farm is asked for, and what undoes it."""

    text: str
    undo: str
    steps: Sequence[PageChange]


def read_change(body: object) -> PageChange:
    """Check a request. Raises `ConfigError`."""
    if not isinstance(body, dict):
        raise ConfigError("expected an object with kind, verb and nodes")
    kind, verb, listed = body.get("kind"), body.get("verb"), body.get("nodes")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ConfigError(f"kind: expected one of {', '.join(KINDS)}")
    known = _verbs_of(kind)
    if not isinstance(verb, str) or verb not in known:
        raise ConfigError(f'verb: a {kind} has no "{verb}"{suggest(str(verb), known)}')
    if not isinstance(listed, list) or not 0 < len(listed) <= MAX_NODES:
        raise ConfigError(f"nodes: expected a list of 1 to {MAX_NODES} nodes")
    nodes: dict[str, object] = {}
    for each in listed:
        number, identity = _read_node(kind, each)
        nodes[number] = identity
    values = body.get("values", {})
    if not isinstance(values, dict) or not all(isinstance(each, str) for each in values.values()):
        raise ConfigError("values: expected an object of texts")
    if (verb == "set") is not bool(values) or len(values) > _MAX_VALUES:
        raise ConfigError(f'values: expected 1 to {_MAX_VALUES} with "set", and none without')
    words = [f"{name}={text}" for name, text in values.items()]
    params = parse_settings(kind, words) if words else {}
    return PageChange(kind=kind, verb=verb, nodes=list(nodes.items()), params=params)


def _read_node(kind: str, node: object) -> tuple[str, object]:
    if not isinstance(node, dict):
        raise ConfigError("nodes: expected objects with an id")
    number = node.get("id")
    identity = node.get("serial" if kind in ("job", "block", "task") else "name")
    if kind in ("block", "task"):
        match = _TASK.fullmatch(number) if isinstance(number, str) else None
        if match is None or (match[3] is None) is (kind == "task"):
            form = "JOB.BLOCK.TASK" if kind == "task" else "JOB.BLOCK"
            raise ConfigError(f'nodes: expected the id of a {kind} as "{form}"')
        return match[0], identity
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number <= _MAX_ID:
        raise ConfigError(f"nodes: expected the id of a {kind} as a number above 0")
    return str(number), identity


@attrs.frozen(slots=True)
class _Found:
    """The nodes of a change as they are now."""

    nodes: Sequence[Node] = ()
    tasks: Sequence[TaskSelection] = ()
    states: Sequence[TaskNode] = ()
    """Of `tasks`, as they are now."""
    problems: Sequence[str] = ()

    @property
    def count(self) -> int:
        return len(self.nodes) or sum(each.count for each in self.tasks)


@attrs.frozen(slots=True)
class Steering:
    """Previews and applies changes of one farm."""

    farm: RemoteFarm

    async def preview(self, change: PageChange) -> dict[str, object]:
        """Say what a change would do. Raises `ConfigError` and what requests raise."""
        found = await self._find(change)
        danger, counted, lost = False, "", 0
        if change.kind in ("task", "block") and change.verb != "set":
            task_change = _TASK_VERBS[change.verb]
            lost = sum(map(task_change.danger, found.states)) if task_change.danger else 0
            danger, counted = lost > 0, task_change.counted
        elif change.verb != "set":
            operation = _NODE_VERBS[change.kind][change.verb]
            if operation.danger is not None:
                lost = sum(map(operation.danger, found.nodes))
                danger, counted = True, operation.counted
        names = _names(change, found)
        verb = _spoken(change)
        text = describe_danger(verb, names, lost, counted) if names else f"{verb} nothing"
        steps = _undo_steps(change, found)
        return {
            "text": text,
            "asks": danger,
            "count": found.count,
            "undo": _undo_text(change, found, steps),
            "problems": list(found.problems)[:_SHOWN_PROBLEMS],
        }

    async def act(
        self, change: PageChange, begin: Callable[[BegunChange], None] = lambda _: None
    ) -> tuple[ChangeReport, str, Sequence[PageChange]]:
        """Do a change; return what was done, and what undoes it.

        `begin` is called before the farm is asked for it. Raises `ConfigError` and what requests
        raise.
        """
        found = await self._find(change)
        report = ChangeReport(problems=list(found.problems))
        steps = _undo_steps(change, found)
        undo = _undo_text(change, found, steps)
        if not found.count:
            return report, "", ()
        text = f"{_spoken(change)} {quote_names(_names(change, found))}"
        begin(BegunChange(text=text, undo=undo, steps=steps))
        if change.kind in ("task", "block") and change.verb != "set":
            await apply_task_change(self.farm, found.tasks, _TASK_VERBS[change.verb], report)
        elif change.kind == "block":
            for each in found.tasks:
                check_block_masks(each, change.params)
            for _, group in groupby(found.tasks, key=lambda each: each.job.id):
                selected = list(group)
                await set_blocks(self.farm, selected[0].job, selected, change.params, report)
        elif change.verb == "set":
            await set_nodes(self.farm, change.kind, found.nodes, change.params, report)
        else:
            operation = _NODE_VERBS[change.kind][change.verb]
            await apply_change(self.farm, change.kind, found.nodes, operation, report)
        if change.verb == "set" and report.names:
            # Who reads the log of the page needs the values: later changes may replace them.
            names = [name for each in report.names.values() for name in each]
            report.names = {_spoken(change): names}
        return report, undo, steps if report.done else ()

    async def undo(self, step: PageChange, whole: ChangeReport) -> None:
        """Do a step that takes a change back, and note it in the report of all of them.

        Raises `ConfigError` and what requests raise.
        """
        report, _, _ = await self.act(step)
        whole.done += report.done
        whole.problems += report.problems
        whole.hints += report.hints
        for did, names in report.names.items():
            whole.names.setdefault(did, []).extend(names)

    async def _find(self, change: PageChange) -> _Found:
        if change.kind in ("task", "block"):
            return await self._find_tasks(change)
        ids = [int(number) for number, _ in change.nodes]
        if change.kind == "job" and change.verb == "set":
            # A list of jobs leaves much out, which undoing would then take for empty.
            listed: Sequence[Node] = await self.farm.jobs(ids=ids, full=True)
        else:
            listed = await list_nodes(self.farm, change.kind, ids)
        known = {node.id: node for node in listed}
        nodes: list[Node] = []
        problems = []
        for number, identity in change.nodes:
            node = known.get(int(number))
            if node is None or (identity is not None and identify(node) != identity):
                problems.append(f"{change.kind} {number} is gone meanwhile")
            else:
                nodes.append(node)
        if change.verb != "set":
            operation = _NODE_VERBS[change.kind][change.verb]
            nodes, impossible = find_possible(change.kind, nodes, operation)
            problems += impossible
        return _Found(nodes=nodes, problems=problems)

    async def _find_tasks(self, change: PageChange) -> _Found:
        parts = [tuple(map(int, number.split("."))) for number, _ in change.nodes]
        serials = {
            part[0]: identity for part, (_, identity) in zip(parts, change.nodes, strict=True)
        }
        full = change.verb == "set"
        jobs = {job.id: job for job in await self.farm.jobs(ids=[*serials], full=full)}
        problems = []
        found: dict[tuple[int, int], set[int]] = {}
        for job, block, *task in parts:
            node = jobs.get(job)
            if node is None or serials[job] not in (None, node.serial):
                problems.append(f"job {job} is gone meanwhile")
            elif block >= len(node.blocks):
                problems.append(f"job {job} has no block {block}")
            elif task and task[0] >= node.blocks[block].tasks:
                problems.append(f"block {job}.{block} has no task {task[0]}")
            else:
                found.setdefault((job, block), set()).update(task)
        tasks = [
            TaskSelection(
                job=jobs[job],
                block=jobs[job].blocks[block],
                tasks=tuple(sorted(numbers)) if change.kind == "task" else None,
            )
            for (job, block), numbers in sorted(found.items())
        ]
        states = [] if change.verb == "set" else await fetch_tasks(self.farm, tasks)
        return _Found(tasks=tasks, states=states, problems=list(dict.fromkeys(problems)))


def _names(change: PageChange, found: _Found) -> list[str]:
    if change.kind in ("task", "block"):
        return [
            f'{each.name} of job "{each.job.name}"'
            + (f" ({count_text(each.count, 'task')})" if each.count > 1 else "")
            for each in found.tasks
        ]
    return [show_node(change.kind, node) for node in found.nodes]


def _spoken(change: PageChange) -> str:
    if change.verb != "set":
        return change.verb.replace("-", " ")
    words = []
    for name, value in change.params.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        words.append(f"{name}={shorten(text, 60)}")
    return f"set {', '.join(words)} of"


# Undo


def _undo_text(change: PageChange, found: _Found, steps: Sequence[PageChange]) -> str:
    """What undoing would do by these steps, '' if there is no way back."""
    if not steps:
        return ""
    if change.verb == "set":
        names = ", ".join(dict.fromkeys(name for step in steps for name in step.params))
        return f"give {quote_names(_names(change, found))} the earlier {names}"
    verbs = " and ".join(dict.fromkeys(step.verb.replace("-", " ") for step in steps))
    count = sum(len(step.nodes) for step in steps)
    kind = steps[0].kind
    return f"{verbs} {count_text(count, kind)} again"


def _undo_steps(change: PageChange, found: _Found) -> list[PageChange]:
    if change.verb == "set":
        return _undo_settings(change, found)
    if change.kind in ("task", "block"):
        inverse = _INVERSE.get(("task", change.verb))
        changed = _BEFORE.get(change.verb)
        if inverse is None or changed is None:
            return []
        serials = {each.job.id: each.job.serial for each in found.tasks}
        changed_tasks: list[tuple[str, object]] = [
            (task.key, serials[task.job]) for task in found.states if changed(task)
        ]
        return (
            [PageChange(kind="task", verb=inverse, nodes=changed_tasks[:MAX_NODES])]
            if changed_tasks
            else []
        )
    if change.verb in ("nimby", "NIMBY", "free"):
        groups: dict[str, list[tuple[str, object]]] = {}
        for node in found.nodes:
            if isinstance(node, RenderNode):
                states = {*node.states}
                verb = "NIMBY" if "NBY" in states else "nimby" if "NbY" in states else "free"
                groups.setdefault(verb, []).append((str(node.id), identify(node)))
        return [PageChange(kind="render", verb=verb, nodes=nodes) for verb, nodes in groups.items()]
    inverse = _INVERSE.get((change.kind, change.verb))
    if inverse is None:
        return []
    # A node that is as the change makes it already stays so.
    lacks = _NODE_VERBS[change.kind][change.verb].after
    nodes = [(str(node.id), identify(node)) for node in found.nodes if lacks(node)]
    return [PageChange(kind=change.kind, verb=inverse, nodes=nodes)] if nodes else []


def _undo_settings(change: PageChange, found: _Found) -> list[PageChange]:
    """Steps that give each node its earlier values. Nodes with the same ones share a step."""
    settings = settings_of(change.kind)
    targets: list[tuple[str, object, Mapping[str, Any], tuple[str, ...]]] = [
        (str(node.id), identify(node), node.fields, getattr(node, "states", ()))
        for node in found.nodes
    ]
    targets += [(each.name, each.job.serial, each.block.fields, ()) for each in found.tasks]
    groups: dict[str, tuple[dict[str, Any], list[tuple[str, object]]]] = {}
    for number, identity, fields, states in targets:
        params: dict[str, Any] = {}
        for name, new in change.params.items():
            if not settings[name].visible:
                continue
            old = present_value(name, settings[name], fields, states)
            if settings[name].table and isinstance(new, dict) and isinstance(old, dict):
                # An entry that was not there cannot be taken away again.
                old = {entry: old[entry] for entry in new if entry in old} or None
            if old is not None and old != new:
                params[name] = old
        if params:
            groups.setdefault(repr(sorted(params.items())), (params, []))[1].append(
                (number, identity)
            )
    return [
        PageChange(kind=change.kind, verb="set", nodes=nodes, params=params)
        for params, nodes in groups.values()
    ]

"""``trio_afrender set KIND NAME ... key=value ...``: parameters of renders, jobs, blocks, users, pools."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from trio_afrender.afserver.editable_parameters import (
    NODE_TYPES,
    Setting,
    parse_settings,
    settings_of,
)
from trio_afrender.afserver.node_selection import TaskSelection, select_nodes, select_tasks
from trio_afrender.afserver.remote_farm import RemoteFarm
from trio_afrender.afserver.remote_nodes import JobNode
from trio_afrender.cli.node_changes import TASK_CHANGES, Node
from trio_afrender.cli.steering import (
    ChangeReport,
    change_tasks,
    group_by_hidden,
    list_nodes,
    run_change,
    show_node,
)
from trio_afrender.errors import ConfigError, LinkRefused
from trio_afrender.text import show_json

__all__ = ("run",)

_STATES = {"nimby": "NbY", "NIMBY": "NBY"}
"""Parameters of renders that answers show as words of the state."""
_OWN_DEFAULTS = ("capacity_host", "max_tasks_host")
"""With -1 answers show what counts then, which may be the host's own setting."""


def run(options: Namespace) -> int:
    """Set parameters; return 1 if something did not take. Raises `AfRenderError`."""
    at = next((i for i, word in enumerate(options.names) if "=" in word), len(options.names))
    options.names, words = options.names[:at], options.names[at:]
    if not options.names or not words:
        raise ConfigError(
            f"expected names and key=value, as in: trio_afrender set {options.kind} NAME"
            f" {next(iter(settings_of(options.kind)))}=VALUE"
        )
    params = parse_settings(options.kind, words)
    if options.kind == "task":
        changes = [TASK_CHANGES[f"{key}={str(on).lower()}"] for key, on in params.items()]
        return run_change(options, partial(change_tasks, changes=changes))
    do = _set_blocks if options.kind == "block" else _set_nodes
    return run_change(options, partial(do, params=params))


async def _set_nodes(
    farm: RemoteFarm, options: Namespace, report: ChangeReport, *, params: Mapping[str, Any]
) -> None:
    kind: str = options.kind
    nodes, report.problems = select_nodes(await list_nodes(farm, kind), options.names, kind)
    for node in nodes:
        _check_masks(node.fields, params)
    for group, sent in group_by_hidden(nodes, params):
        await _set_group(farm, kind, group, sent or params, report)


async def _set_group(
    farm: RemoteFarm,
    kind: str,
    nodes: Sequence[Node],
    params: Mapping[str, Any],
    report: ChangeReport,
) -> None:
    refusal = ""
    try:
        await farm.act(NODE_TYPES[kind], [node.id for node in nodes], params=params)
    except LinkRefused as error:
        refusal = error.reason
    now = {node.id: node for node in await list_nodes(farm, kind)}
    for node in nodes:
        found = now.get(node.id)
        if found is None or found.name != node.name:
            problem = "it is gone meanwhile"
        else:
            states = getattr(found, "states", ())
            shown_fields = {
                **{key: word in states for key, word in _STATES.items()},
                "paused": "PAU" in states or found.fields.get("paused") is True,
                **found.fields,
            }
            problem = _compare(settings_of(kind), params, shown_fields)
        if refusal and (problem or len(nodes) == 1):
            problem = f"refused: {refusal}"
        done = {"kind": kind, "id": node.id, "name": node.name}
        report.note(f"set {', '.join(params)} of", show_node(kind, node), done, problem)


def _compare(
    settings: Mapping[str, Setting], params: Mapping[str, Any], fields: Mapping[str, Any]
) -> str:
    """Say which values a server did not take; '' if it took all."""
    missed = []
    for key, asked in params.items():
        setting = settings[key]
        if not setting.visible or (key in _OWN_DEFAULTS and asked == -1):
            continue
        if key in _STATES and asked and not fields.get(key):
            missed.append(f"{key} is not set")
            continue
        found = fields.get(setting.shown_as or key, setting.absent)
        if not _is_same(setting, asked, found):
            missed.append(f"{key} is {show_json(found)}, not {show_json(asked)}")
    return f"the server did not take it: {', '.join(missed)}" if missed else ""


def _is_same(setting: Setting, asked: object, found: object) -> bool:
    if setting.table and isinstance(asked, dict):
        have = found if isinstance(found, dict) else {}
        # An entry of pools that is 0 is dropped.
        return all(
            have.get(name, 0 if value == 0 else None) == value for name, value in asked.items()
        )
    if isinstance(asked, list) and isinstance(found, list):
        return sorted(map(str, asked)) == sorted(map(str, found))
    if isinstance(asked, int) and isinstance(found, int) and setting.absent == 0:
        return max(0, asked) == max(0, found)
    return asked == found


def _check_masks(fields: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for a mask of hosts that is no expression where it has to be one.

    A server stores it, shows it, and does not use it.
    """
    if params.get("hosts_mask_type", fields.get("hosts_mask_type")) != "regex":
        return
    for key in ("hosts_mask", "hosts_mask_exclude"):
        try:
            re.compile(params.get(key, ""))
        except (re.error, RecursionError, OverflowError) as error:
            shown = show_json(params[key])
            raise ConfigError(f"{key}: {shown} is not a regular expression: {error}") from None


async def _set_blocks(
    farm: RemoteFarm, options: Namespace, report: ChangeReport, *, params: Mapping[str, Any]
) -> None:
    selected, report.problems = select_tasks(await farm.jobs(full=True), options.names)
    parts = [each.name for each in selected if each.tasks is not None]
    if parts:
        raise ConfigError(f"{parts[0]} is a task: parameters are those of its block, JOB.BLOCK")
    for each in selected:
        mask_type = each.job.fields.get("hosts_mask_type")
        _check_masks({**each.block.fields, "hosts_mask_type": mask_type}, params)
    for job in {each.job.id: each.job for each in selected}.values():
        mine = [each for each in selected if each.job.id == job.id]
        await _set_blocks_of(farm, job, mine, params, report)


async def _set_blocks_of(
    farm: RemoteFarm,
    job: JobNode,
    selected: Sequence[TaskSelection],
    params: Mapping[str, Any],
    report: ChangeReport,
) -> None:
    refusal = ""
    numbers = [each.block.number for each in selected]
    try:
        await farm.act("jobs", [job.id], blocks=numbers, params=params)
    except LinkRefused as error:
        refusal = error.reason
    found = await farm.jobs(ids=[job.id], full=True)
    if not found or found[0].serial != job.serial:
        report.problems.append(f"job {job.id} is gone meanwhile")
        return
    # A job gets back what parameters of its blocks have changed of it, as they do on an afserver.
    after = found[0]
    lost = {
        key: job.fields.get(key, "")
        for key in ("custom_data", "annotation", "priority")
        if job.fields.get(key, "") != after.fields.get(key, "")
    }
    if lost or (job.hidden and not after.hidden):
        await farm.act("jobs", [job.id], params={"hidden": job.hidden, **lost})
    for each in selected:
        fields = after.blocks[each.block.number].fields
        problem = _compare(settings_of("block"), params, fields)
        if refusal and (problem or len(selected) == 1):
            problem = f"refused: {refusal}"
        shown = f'block {each.name} "{each.block.name}"'
        done = {"kind": "block", "id": each.name, "name": each.block.name}
        report.note(f"set {', '.join(params)} of", shown, done, problem)

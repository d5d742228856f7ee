"""Set parameters of nodes of a farm, read them back, and say which values did not take."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trio_afrender.afserver.apply_changes import (
    ChangeReport,
    group_by_hidden,
    identify,
    list_nodes,
    show_node,
)
from trio_afrender.afserver.editable_parameters import (
    NODE_TYPES,
    present_value,
    settings_of,
)
from trio_afrender.afserver.node_changes import Node
from trio_afrender.afserver.node_selection import TaskSelection
from trio_afrender.afserver.remote_farm import RemoteFarm
from trio_afrender.afserver.remote_nodes import JobNode
from trio_afrender.errors import ConfigError, LinkRefused
from trio_afrender.text import compile_mask, show_json

__all__ = ("check_block_masks", "set_blocks", "set_nodes")

_OWN_DEFAULTS = ("capacity_host", "max_tasks_host")
"""With -1 answers show what counts then, which may be the host's own setting."""


async def set_nodes(
    farm: RemoteFarm,
    kind: str,
    nodes: Sequence[Node],
    params: Mapping[str, Any],
    report: ChangeReport,
) -> None:
    """Set parameters of nodes. Raises `ConfigError` before anything is sent."""
    for node in nodes:
        _check_masks(node.fields, params)
    for group, sent in group_by_hidden(nodes, params):
        asked = sent or params
        refusal = ""
        try:
            await farm.act(NODE_TYPES[kind], [node.id for node in group], params=asked)
        except LinkRefused as error:
            refusal = error.reason
        # Read back, whatever the answer was: a value that a server ignores is called a success.
        ids = [node.id for node in group]
        now = {node.id: node for node in await list_nodes(farm, kind, ids)}
        problems = []
        for node in group:
            found = now.get(node.id)
            if found is None or identify(found) != identify(node):
                problems.append("it is gone meanwhile")
            else:
                states = getattr(found, "states", ())
                problems.append(_compare(kind, asked, found.fields, states))
        for node, problem in zip(group, _name_refusal(refusal, problems), strict=True):
            done = {"kind": kind, "id": node.id, "name": node.name}
            report.note(f"set {', '.join(asked)} of", show_node(kind, node), done, problem)


def _name_refusal(refusal: str, problems: Sequence[str]) -> Iterator[str]:
    """Yield the problems of nodes of one request, with the refusal of those that it is about."""
    # Of several nodes one may be refused, and shows it. If none does, all are: the value may be one
    # that no answer shows, or the one that they had before.
    any_shown = any(problems)
    for problem in problems:
        yield f"refused: {refusal}" if refusal and (problem or not any_shown) else problem


def _compare(
    kind: str, params: Mapping[str, Any], fields: Mapping[str, Any], states: Sequence[str] = ()
) -> str:
    """Say which values a server did not take; '' if it took all."""
    missed = []
    for key, asked in params.items():
        setting = settings_of(kind)[key]
        if not setting.visible or (key in _OWN_DEFAULTS and asked == -1):
            continue
        found = present_value(key, setting, fields, states)
        if setting.table and isinstance(asked, dict):
            have = found if isinstance(found, dict) else {}
            # An entry of pools that is 0 is dropped.
            same = all(
                have.get(name, 0 if value == 0 else None) == value for name, value in asked.items()
            )
        elif isinstance(asked, list) and isinstance(found, list):
            # The order of names has no meaning.
            same = sorted(map(str, asked)) == sorted(map(str, found))
        elif isinstance(asked, int) and isinstance(found, int) and setting.absent == 0:
            # Of a need, 0 and less are the same, and answers have neither.
            same = max(0, asked) == max(0, found)
        else:
            same = asked == found
        if not same:
            missed.append(f"{key} is {show_json(found)}, not {show_json(asked)}")
    return f"the server did not take it: {', '.join(missed)}" if missed else ""


def check_block_masks(selected: TaskSelection, params: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for a mask of hosts that is wrong for a block."""
    mask_type = selected.job.fields.get("hosts_mask_type")
    _check_masks({**selected.block.fields, "hosts_mask_type": mask_type}, params)


def _check_masks(fields: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for a mask of hosts that is no expression where it has to be one.

    A server stores it, shows it, and does not use it.
    """
    if params.get("hosts_mask_type", fields.get("hosts_mask_type")) != "regex":
        return
    for key in ("hosts_mask", "hosts_mask_exclude"):
        try:
            compile_mask(params.get(key, ""))
        except (re.error, RecursionError, OverflowError) as error:
            shown = show_json(params[key])
            raise ConfigError(f"{key}: {shown} is not a regular expression: {error}") from None


async def set_blocks(
    farm: RemoteFarm,
    job: JobNode,
    selected: Sequence[TaskSelection],
    params: Mapping[str, Any],
    report: ChangeReport,
) -> None:
    """Set parameters of blocks of one job. `check_block_masks` comes first."""
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
    problems = [
        _compare("block", params, after.blocks[each.block.number].fields) for each in selected
    ]
    for each, problem in zip(selected, _name_refusal(refusal, problems), strict=True):
        shown = f'block {each.name} "{each.block.name}"'
        done = {"kind": "block", "id": each.name, "name": each.block.name}
        report.note(f"set {', '.join(params)} of", shown, done, problem)

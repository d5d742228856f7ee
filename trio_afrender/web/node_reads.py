"""What the page reads of one node when it is asked: present values of parameters, and the log."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from trio_afrender.afserver.apply_changes import list_nodes
from trio_afrender.afserver.editable_parameters import NODE_TYPES, present_value, settings_of
from trio_afrender.afserver.node_changes import Node
from trio_afrender.afserver.remote_farm import RemoteFarm
from trio_afrender.errors import ConfigError, LinkRefused
from trio_afrender.web.topic_registry import UnknownTopic

__all__ = ("read_node_log", "read_values")

_MAX_LINES = 1000
"""Of a log, the last ones."""


async def read_values(farm: RemoteFarm, kind: str, node: str) -> dict[str, object]:
    """Return the parameters of a node, those that can be read.

    Raises `ConfigError` for a kind or number that is none, `UnknownTopic` and `JobGone` for a node
    that is not there.
    """
    fields: Mapping[str, Any]
    states: Sequence[str] = ()
    if kind == "block" and (match := re.fullmatch(r"(\d{1,9})\.(\d{1,9})", node, re.ASCII)):
        job, block = int(match[1]), int(match[2])
        blocks = (await farm.job(job)).blocks
        if block >= len(blocks):
            raise UnknownTopic(f"job {job} has no block {block}")
        fields = blocks[block].fields
    else:
        number = _read_number(kind, node)
        # A list of jobs leaves much out.
        nodes: Sequence[Node] = (
            [await farm.job(number)] if kind == "job" else await list_nodes(farm, kind, [number])
        )
        found = next((each for each in nodes if each.id == number), None)
        if found is None:
            raise UnknownTopic(f"there is no {kind} {number}")
        fields, states = found.fields, getattr(found, "states", ())
    return {
        name: present_value(name, setting, fields, states)
        for name, setting in settings_of(kind).items()
        if setting.visible
    }


def _read_number(kind: str, node: str) -> int:
    if kind not in NODE_TYPES or kind in ("block", "task"):
        raise ConfigError(f'"{kind}" {node}: there is no such node')
    if not re.fullmatch(r"\d{1,9}", node, re.ASCII):
        raise ConfigError(f"{kind}: expected a number")
    return int(node)


async def read_node_log(farm: RemoteFarm, kind: str, node: str) -> list[str]:
    """Return the last lines of the log of a node. Raises as `read_values` does."""
    number = _read_number(kind, node)
    try:
        entries = await farm.node_log(NODE_TYPES[kind], number)
    except LinkRefused as error:
        raise UnknownTopic(f"there is no {kind} {number}") from error
    lines = [line.rstrip() for entry in entries for line in entry.rstrip("\n").split("\n")]
    return lines[-_MAX_LINES:]

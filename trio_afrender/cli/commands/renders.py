"""``trio_afrender renders``: the renders of a farm, their states and what they run."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Sequence

from trio_afrender.afserver.node_selection import select_nodes
from trio_afrender.afserver.remote_farm import RemoteFarm
from trio_afrender.afserver.remote_nodes import RenderNode
from trio_afrender.cli.find_farm import find_remote_farm
from trio_afrender.cli.node_tables import render_object, renders_table
from trio_afrender.cli.repeated_display import Shown, display
from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.text import count_text

__all__ = ("run",)


def run(options: Namespace) -> int:
    """Print the renders; return 1 if a word selects none. Raises `AfRenderError`."""
    farm = find_remote_farm(options)
    problems: list[str] = []

    async def fetch(width: int) -> Shown:
        problems[:] = []
        renders = await _select(farm, options.names, problems)
        loads = await farm.loads() if any(render.online for render in renders) else {}
        lines = renders_table(renders, loads, time.time(), width)
        data = [render_object(render, loads.get(render.id, {})) for render in renders]
        return Shown([*lines, [_sum(renders)]], data)

    display(fetch, as_json=options.json, watch=options.watch)
    print_line(*(f"trio_afrender: {clean(each)}" for each in problems))
    return 1 if problems else 0


async def _select(farm: RemoteFarm, names: Sequence[str], problems: list[str]) -> list[RenderNode]:
    renders = sorted(await farm.renders(), key=lambda render: render.name)
    if not names:
        return renders
    found, missed = select_nodes(renders, names, "render")
    problems += missed
    return found


def _sum(renders: Sequence[RenderNode]) -> tuple[str, str]:
    online = sum(render.online for render in renders)
    busy = sum(bool(render.tasks) for render in renders)
    tasks = sum(len(render.tasks) for render in renders)
    text = f"{count_text(len(renders), 'render')}, {online} online, {busy} busy"
    text += f" with {count_text(tasks, 'task')}" if busy else ""
    return text, "dim"

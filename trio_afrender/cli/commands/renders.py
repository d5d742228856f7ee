"""``trio_afrender renders``: the renders of a farm, their states and what they run."""

from __future__ import annotations

import time
from argparse import Namespace

from trio_afrender.afserver.node_selection import select_nodes
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
        renders = sorted(await farm.renders(), key=lambda render: render.name)
        if options.names:
            renders, problems[:] = select_nodes(renders, options.names, "render")
        loads = await farm.loads() if any(render.online for render in renders) else {}
        lines = renders_table(renders, loads, time.time(), width)
        data = [render_object(render, loads.get(render.id, {})) for render in renders]
        online = sum(render.online for render in renders)
        busy = sum(bool(render.tasks) for render in renders)
        text = f"{count_text(len(renders), 'render')}, {online} online, {busy} busy"
        if busy:
            text += f" with {count_text(sum(len(render.tasks) for render in renders), 'task')}"
        return Shown([*lines, [(text, "dim")]], data)

    display(fetch, as_json=options.json, watch=options.watch)
    print_line(*(f"trio_afrender: {clean(each)}" for each in problems))
    return 1 if problems else 0

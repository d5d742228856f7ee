"""``trio_afrender tasks JOB``: the tasks of jobs, with states, progress and renders."""

from __future__ import annotations

import time
from argparse import Namespace

from trio_afrender.afserver.apply_changes import fetch_tasks
from trio_afrender.afserver.node_selection import select_tasks
from trio_afrender.afserver.remote_nodes import TASK_STATES
from trio_afrender.cli.find_farm import find_remote_farm
from trio_afrender.cli.node_tables import tasks_table
from trio_afrender.cli.repeated_display import Shown, display
from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.errors import ConfigError
from trio_afrender.text import count_text, suggest

__all__ = ("run",)


def run(options: Namespace) -> int:
    """Print tasks; return 1 if a word selects none. Raises `AfRenderError`."""
    wanted = {word for text in options.state for word in text.split(",")}
    for word in wanted - {*TASK_STATES}:
        hint = suggest(word, TASK_STATES) or f"; there are {', '.join(TASK_STATES)}"
        raise ConfigError(f'--state: no state "{word}"{hint}')
    farm = find_remote_farm(options)
    problems: list[str] = []

    async def fetch(width: int) -> Shown:
        found, problems[:] = select_tasks(await farm.jobs(), options.names)
        tasks = await fetch_tasks(farm, found)
        if wanted:
            tasks = [task for task in tasks if wanted & {*task.states}]
        now = time.time()
        lines = tasks_table(tasks, now, width)
        done = sum("DON" in task.states for task in tasks)
        running = sum(task.running for task in tasks)
        failed = sum("ERR" in task.states for task in tasks)
        counts = f"{done} done, {running} running, {failed} with errors"
        text = f"{count_text(len(tasks), 'task')}: {counts}"
        return Shown([*lines, [(text, "dim")]], [task.to_json() for task in tasks])

    display(fetch, as_json=options.json, watch=options.watch)
    print_line(*(f"trio_afrender: {clean(each)}" for each in problems))
    return 1 if problems else 0

"""``trio_afrender tasks JOB``: the tasks of jobs, with states, progress and renders."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Sequence

from trio_afrender.afserver.node_selection import TaskSelection, select_tasks
from trio_afrender.afserver.remote_farm import RemoteFarm
from trio_afrender.afserver.remote_nodes import TASK_STATES, TaskNode
from trio_afrender.cli.find_farm import find_remote_farm
from trio_afrender.cli.node_tables import task_object, tasks_table
from trio_afrender.cli.repeated_display import Shown, display
from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.errors import ConfigError, JobGone
from trio_afrender.text import count_text, suggest

__all__ = ("fetch_tasks", "run")


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
        return Shown([*lines, [(text, "dim")]], [task_object(task) for task in tasks])

    display(fetch, as_json=options.json, watch=options.watch)
    print_line(*(f"trio_afrender: {clean(each)}" for each in problems))
    return 1 if problems else 0


async def fetch_tasks(farm: RemoteFarm, selected: Sequence[TaskSelection]) -> list[TaskNode]:
    """Fetch the selected tasks, with their names. Jobs that were deleted meanwhile are left out."""
    tasks: dict[tuple[int, int, int], TaskNode] = {}
    for number in dict.fromkeys(each.job.id for each in selected):
        mine = [each for each in selected if each.job.id == number]
        try:
            job = await farm.job(number)
            found = await farm.tasks(job)
        except JobGone:
            continue
        whole = {each.block.number for each in mine if each.tasks is None}
        single = {(each.block.number, task) for each in mine for task in each.tasks or ()}
        for task in found:
            if task.block in whole or (task.block, task.task) in single:
                tasks[task.job, task.block, task.task] = task
    return list(tasks.values())

"""What a job would run, in order: the embedded farm's own scheduler is asked, without I/O.

Each task takes equally long there, so with several renders the true order depends on the times of tasks.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence

import attrs

from trio_afrender.cli.terminal import Part, clean, write_line
from trio_afrender.config import Config
from trio_afrender.devtools.service_preview import ServiceView, make_service
from trio_afrender.errors import PluginError
from trio_afrender.farm import renders, scheduler, transitions, user_requests
from trio_afrender.farm.farm import FarmSettings
from trio_afrender.farm.model import Job, TaskState
from trio_afrender.farm.obstacles import ObstacleKind
from trio_afrender.farm.state import FarmState
from trio_afrender.farm.store import MemoryFarmStore
from trio_afrender.farm.updates import apply_update
from trio_afrender.farm.why_waiting import explain_job
from trio_afrender.jobs.job_spec import JobSpec
from trio_afrender.jobs.task_choice import TaskPlace
from trio_afrender.protocol.messages import (
    Register,
    Registered,
    TaskExec,
    TaskStatus,
    TaskUpdate,
    Update,
)
from trio_afrender.task.task_info import make_task_info
from trio_afrender.text import count_text
from trio_afrender.user_files import find_temporary_folder, is_folder

__all__ = ("JobPlan", "PlannedTask", "make_plan", "preview_tasks", "skip_others", "write_plan")

_WAITS = (ObstacleKind.BLOCKS, ObstacleKind.FRAMES)
_MOST_SIMULATED = 20_000
"""Tasks whose order is found, in some seconds."""
_SHOWN = 20
"""Tasks of a block whose commands are printed; JSON has all."""
MAX_PREVIEWED = 5000
"""Tasks in JSON; services are called for each."""


@attrs.frozen(slots=True)
class JobPlan:
    """The tasks that would run, in order, and why others never could."""

    order: tuple[TaskExec, ...]
    stuck: Mapping[int, tuple[str, ...]]
    """By block; blocks that wait for these are not among them."""
    more: int
    """Tasks that would not run, or that follow the last one that was looked at."""


@attrs.frozen(slots=True, kw_only=True)
class PlannedTask:
    """A task as its service prepares it, and what is wrong with it."""

    task: TaskExec
    view: ServiceView | None
    problems: tuple[str, ...]


def make_plan(
    spec: JobSpec, registers: Sequence[Register], chosen: Collection[TaskPlace] | None
) -> JobPlan:
    """Return the order in which these renders would start the tasks that are `chosen`, None: all."""
    counter = itertools.count(1)
    state = FarmState(
        texts=MemoryFarmStore(),
        settings=FarmSettings(),
        wall=lambda: 0.0,
        make_run=lambda: f"run{next(counter)}",
    )
    for session, register in enumerate(registers, 1):
        registered = renders.register(state, register, session, "", 0.0)
        assert isinstance(registered, Registered)  # noqa: S101 - a new name is never refused
    # What depends on the clock is left out: the order is the same.
    needs = attrs.evolve(spec.needs, max_tasks_per_second=-1)
    job = transitions.submit(state, attrs.evolve(spec, time_wait=0, needs=needs, offline=True), 0.0)
    if chosen is not None:
        skip_others(state, job, chosen, 0.0)
    user_requests.pause_job(state, job, on=False)
    tasks = _run_all(state, [register.name for register in registers])
    order = tuple(itertools.islice(tasks, _MOST_SIMULATED))
    stuck: dict[int, list[str]] = {}
    if len(order) < _MOST_SIMULATED:
        for answer in explain_job(state, job, 0.0):
            if not any(each.kind in _WAITS for each in answer.obstacles):
                stuck.setdefault(answer.key.block, []).extend(answer.sentences)
    total = sum(block.task_count for block in spec.blocks)
    more = (total if chosen is None else len(chosen)) - len(order)
    return JobPlan(order, {block: tuple(texts) for block, texts in stuck.items()}, more)


def skip_others(state: FarmState, job: Job, chosen: Collection[TaskPlace], now: float) -> None:
    """Count all tasks of a job that has not started as skipped, but those that are chosen."""
    with user_requests.changing_tasks(state, job, now):
        for block in job.blocks:
            for task in block.tasks:
                if (task.key.block, task.key.task) not in chosen:
                    # Not `count_as_done`, which writes a log for each: they may be 200,000.
                    state.set_state(task, TaskState.SKIPPED)


def _run_all(state: FarmState, names: Sequence[str]) -> Iterator[TaskExec]:
    """Assign tasks and end them, one after the other, until nothing is left to do."""
    running: deque[tuple[str, TaskExec]] = deque()
    sessions = {name: number for number, name in enumerate(names, 1)}
    sequence = itertools.count(1)
    while True:
        scheduler.assign(state, 0.0)
        for name in names:
            render = state.renders[name]
            while events := renders.take_events(state, render, sessions[name]):
                for task in events.tasks:
                    running.append((name, task))
                    yield task
        state.take_outgoing()
        if not running:
            return
        name, task = running.popleft()
        done = TaskUpdate(run=task.run, **task.key._asdict(), status=TaskStatus.FinishedSuccess)
        update = Update(seq=next(sequence), tasks=(done,))
        closes = apply_update(state, state.renders[name], sessions[name], update, 0.0)
        renders.close_runs(state, state.renders[name], sessions[name], closes)


def preview_tasks(
    tasks: Sequence[TaskExec], config: Config, *, block_limit: int | None = None
) -> Iterator[PlannedTask]:
    """Yield each task as its service prepares it, at most `block_limit` of a block.

    Calls code of services: blocking.
    """
    counts: dict[int, int] = {}
    for task in tasks:
        counts[task.block] = counts.get(task.block, 0) + 1
        if block_limit is not None and counts[task.block] > block_limit:
            continue
        info = make_task_info(
            task, str(find_temporary_folder()) if not task.working_directory else ""
        )
        try:
            view = make_service(
                task.service, info, folders=config.plugins, settings=config.plugin_settings()
            )
        except PluginError as error:
            yield PlannedTask(task=task, view=None, problems=(str(error),))
            continue
        problems = list(view.problems)
        if not view.command.strip() and not view.skip:
            problems.append("the command is empty: the task would fail to start")
        yield PlannedTask(task=task, view=view, problems=tuple(problems))


def write_plan(plan: JobPlan, spec: JobSpec, config: Config) -> bool:
    """Print the plan to stdout; return whether all of it can run."""
    good = not plan.stuck
    counts: dict[int, int] = {}
    for task in plan.order:
        counts[task.block] = counts.get(task.block, 0) + 1
    blocks = count_text(len(spec.blocks), "block")
    tasks = count_text(len(plan.order), "task")
    write_line((clean(f'job "{spec.name}"'), "bold"), f": {blocks}, {tasks} would run")
    left_out: dict[int, int] = {}
    seen: dict[int, tuple[str, str]] = {}
    previews = {
        each.task.run: each for each in preview_tasks(plan.order, config, block_limit=_SHOWN)
    }
    for number, task in enumerate(plan.order, 1):
        planned = previews.get(task.run)
        if planned is None:
            left_out[task.block] = left_out.get(task.block, 0) + 1
            if left_out[task.block] == counts[task.block] - _SHOWN:
                more = count_text(left_out[task.block], "more task")
                write_line((f"      ... {more} of {clean(task.block_name)}", "dim"))
            continue
        good = good and not planned.problems
        for line in _describe(number, planned, seen):
            write_line(*line)
    for text in dict.fromkeys(text for texts in plan.stuck.values() for text in texts):
        write_line(("can never run here: ", "bold red"), clean(text))
    if plan.more:
        words = "do not run" if plan.stuck else "follow"
        write_line((f"{count_text(plan.more, 'task')} {words}", "dim"))
    return good


def _describe(
    number: int, planned: PlannedTask, seen: dict[int, tuple[str, str]]
) -> Iterator[Sequence[Part]]:
    """Yield the lines of a task. Its folder and service are left out if the one before has the same."""
    task, view = planned.task, planned.view
    yield (f"{number:5} ", "dim"), (clean(f"{task.block_name} / {task.name}"), "bold")
    if view is not None:
        if view.skip:
            yield "      ", ("skipped by its service", "yellow")
        yield (f"      {clean(view.command)}",)
        facts = (
            f"service {task.service}, parser {task.parser or 'none'}",
            view.working_directory if task.working_directory else "",
        )
        if seen.get(task.block) != facts:
            seen[task.block] = facts
            yield ((clean(f"      {facts[0]}"), "dim"),)
            folder = facts[1] or "a new folder for each task"
            missing = bool(facts[1]) and not is_folder(facts[1])
            yield (
                (clean(f"      in {folder}"), "dim"),
                (" (does not exist now)" if missing else "", "yellow"),
            )
        for file in view.files:
            yield ((clean(f"      file {file}"), "dim"),)
    for problem in planned.problems:
        for line in problem.splitlines()[:1]:
            yield ((f"      {clean(line)}", "bold red"),)

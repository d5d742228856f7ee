"""One round: a job of awkward tasks, trouble while they run, and the check afterwards."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable

import attrs
import trio

from chaos.environment import World
from chaos.faults import (
    DISK,
    FARM,
    KEEPING,
    KILL,
    PARENT,
    SUPERVISOR,
    Trouble,
    plan_troubles,
    start,
)
from chaos.task_shapes import ESCAPING, Plan, plan_task
from chaos.verdict import judge, list_strays
from trio_afrender.farm import Farm, JobSpec, TaskView, parse_job

__all__ = ("Round", "RoundFailed", "plan_round", "play")

GUARD = 120.0
"""Seconds after which a round counts as hanging."""
BURIAL = 600
"""Looks, twenty a second, for processes of a run that a farm has given up, or that died with its
farm: nobody tells when they are gone."""
BAD = ("Traceback", "internal error", "hangs")
"""Words in an agent's log that are wrong whatever happened."""


class RoundFailed(Exception):
    """What a round found wrong."""


@attrs.frozen
class Round:
    """All that is thrown for one round; the same dice give the same round."""

    plans: tuple[Plan, ...]
    troubles: tuple[Trouble, ...]
    dice: random.Random

    def has(self, *names: str) -> bool:
        return any(trouble.name in names for trouble in self.troubles)

    def __str__(self) -> str:
        shapes = ", ".join(f"{plan.shape} ({plan.lines})" for plan in self.plans)
        return f"{shapes}; {', '.join(map(str, self.troubles)) or 'no trouble'}"


def plan_round(seed: int, number: int, *, pace: str, disk: bool, kept: bool) -> Round:
    """Throw round `number` of a seed, for a world that has such a `disk`, and supervisors."""
    dice = random.Random(f"{seed}:{number}")  # noqa: S311 - to be repeated
    left_out = (*(() if disk else DISK), *(() if kept else KEEPING))
    troubles = plan_troubles(dice, pace, left_out)
    # Without who held it nobody is left who could know a process without environment.
    holders = {SUPERVISOR, PARENT} if kept else {KILL}
    avoided = ESCAPING if holders <= {trouble.name for trouble in troubles} else ()
    plans = tuple(plan_task(dice, avoided) for _ in range(dice.randint(1, 4)))
    return Round(plans, troubles, dice)


async def play(world: World, plan: Round) -> None:
    """Play one round and check what is left of it. Raises `RoundFailed`."""
    mark = f"chaos-{uuid.uuid4().hex}"
    problems: list[str] = []
    with trio.move_on_after(GUARD) as guard:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_make_trouble, world, plan)
            problems += await _run_job(world, plan, mark)
        problems += await _look_for_strays(mark, patient=plan.has(FARM) or world.gave_up)
    if guard.cancelled_caught:
        problems.append(f"not over after {GUARD:g} s: {_describe(world.farm)}")
    if world.process.returncode is not None:
        problems.append(f"the agent ended with {world.process.returncode}")
    said = world.log()
    problems += [f'the agent said "{word}"' for word in BAD if word in said]
    if problems:
        end = "; ".join(problems)
        raise RoundFailed(f"{plan}: {end}\nthe agent's log of it:\n{said[-4000:]}")


def _describe(farm: Farm) -> str:
    tasks = [task for job in farm.jobs for task in farm.view(job).tasks]
    return str({f"{task.job}.{task.task}": task.state for task in tasks})


async def _make_trouble(world: World, plan: Round) -> None:
    for trouble in plan.troubles:
        await start(world, trouble, plan.dice)


async def _run_job(world: World, plan: Round, mark: str) -> list[str]:
    """Have the farm run the job, and the next one when that dies; judge the one that ended it."""
    tasks = [{"name": f"t{i}", "command": each.command(mark)} for i, each in enumerate(plan.plans)]
    spec = parse_job({"job": {"name": mark, "blocks": [{"name": "b", "tasks": tasks}]}})
    while True:
        problems = await _run_on(world, world.farm, spec, plan)
        if problems is not None:
            return problems


async def _run_on(world: World, farm: Farm, spec: JobSpec, plan: Round) -> list[str] | None:
    """Run it on one farm; None when that died first."""
    problems: list[str] | None = None
    lost = world.farm_lost
    async with trio.open_nursery() as nursery:

        async def give_up() -> None:
            await lost.wait()
            nursery.cancel_scope.cancel()

        nursery.start_soon(give_up)
        job = farm.submit(spec)
        for number, each in enumerate(plan.plans):
            if each.stop_after is not None:
                nursery.start_soon(_stop, farm, job, number, each.stop_after)
        view = await farm.wait(job)
        problems = judge(plan.plans, view, world.ends, starved=plan.has(*DISK))
        world.gave_up = any(step.event == "lost" for task in view.tasks for step in task.why)
        nursery.cancel_scope.cancel()
    if problems is not None:
        await farm.forget_job(job)
    return problems


async def _stop(farm: Farm, job: int, number: int, after: float) -> None:
    """Stop a task some time after it has started to run, as often as it takes."""
    stopped = ""

    def wants_it(task: TaskView) -> bool:
        return task.state not in ("waiting", "ready") and task.run != stopped

    while (task := await _wait_for(farm, job, number, wants_it)).state == "running":
        await trio.sleep(after)
        if farm.view(job).tasks[number].state == "running":
            stopped = task.run
            farm.stop_task(task.key, "chaos")


async def _wait_for(
    farm: Farm, job: int, number: int, fits: Callable[[TaskView], bool]
) -> TaskView:
    seen = 0
    while not fits(task := farm.view(job).tasks[number]):
        seen = await farm.changed(seen)
    return task


async def _look_for_strays(mark: str, *, patient: bool) -> list[str]:
    """Processes that live on. `patient`: the farm may not have waited for the agent's word."""
    found: list[str] = []
    for _ in range(BURIAL if patient else 1):
        found = await trio.to_thread.run_sync(list_strays, mark)
        if not found:
            break
        await trio.sleep(0.05)
    return found

"""One round: a job of awkward tasks, trouble while they run, and the check afterwards."""

from __future__ import annotations

import random
import re
import uuid

import psutil
import trio

from chaos.proxy import FAULTS
from chaos.shapes import Plan, plan_task
from chaos.world import World
from trio_afrender.farm import JobView, TaskView, parse_job

__all__ = ("RoundFailed", "play")

GUARD = 60.0
"""Seconds after which a round counts as hanging."""
KILL = "kill_agent"
GAP = re.compile(r"--- trio_afrender: .* left out here ---")


class RoundFailed(Exception):
    """What a round found wrong."""


async def play(world: World, dice: random.Random, *, heavy: bool = False) -> tuple[Plan, ...]:
    """Play one round and check what is left of it. Raises `RoundFailed`."""
    plans = tuple(plan_task(dice, heavy=heavy) for _ in range(dice.randint(1, 6)))
    faults = [dice.choice((*FAULTS, KILL)) for _ in range(dice.choice((0, 0, 1, 2)))]
    if KILL in faults:
        # The next agent knows processes by their environment: one without is beyond it.
        plans = tuple(plan for plan in plans if plan.shape != "daemon")
    if not plans:
        return ()
    mark = f"chaos-{uuid.uuid4().hex}"
    tasks = [{"name": f"t{i}", "command": plan.command(mark)} for i, plan in enumerate(plans)]
    job = world.farm.submit(
        parse_job({"job": {"name": mark, "blocks": [{"name": "b", "tasks": tasks}]}})
    )
    with trio.move_on_after(GUARD) as guard:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_trouble, world, dice, faults)
            for number, plan in enumerate(plans):
                if plan.stop_after is not None:
                    nursery.start_soon(_stop, world, job, number, plan.stop_after)
            view = await world.farm.wait(job)
        problems = [*_judge(plans, view), *await _strays(mark)]
    if guard.cancelled_caught:
        states = {f"{t.task} {plans[t.task].shape}": t.state for t in world.farm.view(job).tasks}
        problems = [f"not over after {GUARD:g} s: {states}"]
    if problems:
        raise RoundFailed(f"faults {faults}: " + "; ".join(problems))
    return plans


async def _trouble(world: World, dice: random.Random, faults: list[str]) -> None:
    for fault in faults:
        await trio.sleep(dice.uniform(0.0, 0.6))
        if fault == KILL:
            await world.kill_agent()
        else:
            await world.proxy.hurt(fault, dice)


async def _stop(world: World, job: int, number: int, after: float) -> None:
    """Stop a task some time after it has started to run, as often as it takes."""
    seen = -1
    stopped = ""
    while True:
        task = world.farm.view(job).tasks[number]
        if task.state in ("done", "error", "killed", "skipped"):
            return
        if task.state == "running" and task.run != stopped:
            await trio.sleep(after)
            stopped = task.run
            if world.farm.view(job).tasks[number].state == "running":
                world.farm.stop_task(task.key, "chaos")
        seen = await world.farm.changed(seen)


def _judge(plans: tuple[Plan, ...], view: JobView) -> list[str]:
    problems = []
    for plan, task in zip(plans, view.tasks, strict=True):
        who = f"task {task.task} ({plan.shape}, {plan.lines} lines)"
        if task.state not in plan.states:
            why = "; ".join(step.text for step in task.why)
            problems.append(f"{who} ended as {task.state}, not {sorted(plan.states)}: {why}")
        if said := _judge_output(plan, task):
            problems.append(f"{who}: {said}")
    return problems


def _judge_output(plan: Plan, task: TaskView) -> str:
    """Every line once and in order, as far as the task got; a gap is allowed where it is stated."""
    numbers: list[int] = []
    gap = False
    for line in task.output.splitlines():
        if GAP.fullmatch(line):
            gap = True
        elif line.startswith("L "):
            numbers.append(int(line[2:]))
        elif not line.startswith("F ") and plan.shape != "flood":
            return f'printed "{line[:80]}"'
    whole = list(range(1, plan.lines + 1))
    if gap and plan.shape == "flood":
        return "" if numbers == whole[: len(numbers)] else "lines are missing before the gap"
    if task.state == "killed":
        return "" if numbers == whole[: len(numbers)] else "lines are missing or doubled"
    return "" if numbers == whole else f"{len(numbers)} of {len(whole)} lines, or doubled"


async def _strays(mark: str) -> list[str]:
    """Name processes of the round that still live: there may be none when all is reported."""

    def look() -> list[str]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.status() != psutil.STATUS_ZOMBIE and mark in process.cmdline():
                    found.append(f"pid {process.pid} lives: {process.cmdline()[2:4]}")
            except psutil.Error:
                continue
        return found

    return await trio.to_thread.run_sync(look)

"""One round: a job of awkward tasks, faults while they run, and the checks afterwards."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from functools import partial

import attrs
import trio

from chaos.environment import Environment
from chaos.faults import (
    AGENT_KILL,
    DISK_FAULTS,
    FARM_KILL,
    SPECIAL_FILE,
    SUPERVISOR_FAULTS,
    SUPERVISOR_KILL,
    TASK_SUPERVISOR_KILL,
    Fault,
    inject,
    plan_faults,
)
from chaos.task_shapes import ESCAPING, PICTURE, TaskPlan, plan_task
from chaos.verdict import check_job, find_leftovers
from trio_afrender.async_helpers import wait_any
from trio_afrender.farm import Farm, JobSpec, TaskView, parse_job
from trio_afrender.protocol.messages import BlockFlags

__all__ = ("Round", "RoundFailed", "plan_round", "run_round")

ROUND_TIMEOUT = 120.0
"""Seconds after which a round counts as hanging."""
LEFTOVER_CHECKS = 600
"""Checks, 20 per second, for processes of a run that a farm has given up, or whose farm died: no
message reports when they are gone."""
BAD_WORDS = ("Traceback", "internal error", "hangs")
"""Words that an agent must never log."""


class RoundFailed(Exception):
    """A check has failed; the text has the details."""


@attrs.frozen
class Round:
    """Everything that is drawn for one round."""

    plans: tuple[TaskPlan, ...]
    faults: tuple[Fault, ...]
    rng: random.Random

    def has(self, *names: str) -> bool:
        return any(fault.name in names for fault in self.faults)

    def __str__(self) -> str:
        shapes = ", ".join(f"{plan.shape} ({plan.lines})" for plan in self.plans)
        return f"{shapes}; {', '.join(map(str, self.faults)) or 'no fault'}"


def plan_round(seed: int, number: int, *, profile: str, disk: bool, supervisors: bool) -> Round:
    """Draw round `number` of a seed: the same arguments give the same round.

    `disk`, `supervisors`: whether the environment has them.
    """
    rng = random.Random(f"{seed}:{number}")  # noqa: S311 - must be repeatable
    left_out = (*(() if disk else DISK_FAULTS), *(() if supervisors else SUPERVISOR_FAULTS))
    faults = plan_faults(rng, profile, left_out)
    # Once these are killed, nothing identifies a process that has cleared its environment.
    holders = {SUPERVISOR_KILL, TASK_SUPERVISOR_KILL} if supervisors else {AGENT_KILL}
    avoided = ESCAPING if holders <= {fault.name for fault in faults} else ()
    plans = tuple(plan_task(rng, avoided) for _ in range(rng.randint(1, 4)))
    return Round(plans, faults, rng)


async def run_round(environment: Environment, plan: Round) -> None:
    """Run one round and check its results. Raises `RoundFailed`."""
    mark = f"chaos-{uuid.uuid4().hex}"
    problems: list[str] = []
    with trio.move_on_after(ROUND_TIMEOUT) as timeout:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_inject_faults, environment, plan)
            problems += await _run_job(environment, plan, mark)
        unreported = plan.has(FARM_KILL) or environment.render_lost
        problems += await _check_leftovers(mark, LEFTOVER_CHECKS if unreported else 1)
    if timeout.cancelled_caught:
        problems.append(f"not over after {ROUND_TIMEOUT:g} s: {_describe(environment.farm)}")
    if environment.process.returncode is not None:
        problems.append(f"the agent ended with {environment.process.returncode}")
    log = environment.read_log()
    problems += [f'the agent logged "{word}"' for word in BAD_WORDS if word in log]
    if problems:
        listed = "; ".join(problems)
        raise RoundFailed(f"{plan}: {listed}\nthe agent's log:\n{log[-4000:]}")


def _describe(farm: Farm) -> str:
    tasks = [task for job in farm.jobs for task in farm.view(job).tasks]
    return str({f"{task.job}.{task.task}": task.state for task in tasks})


async def _inject_faults(environment: Environment, plan: Round) -> None:
    for fault in plan.faults:
        await inject(environment, fault, plan.rng)


async def _run_job(environment: Environment, plan: Round, mark: str) -> list[str]:
    """Run the job, again on the next farm if a farm dies; check it on the farm that ended it."""
    tasks: list[dict[str, object]] = []
    for number, each in enumerate(plan.plans):
        task: dict[str, object] = {"name": f"t{number}", "command": each.command(mark)}
        if each.shape == PICTURE:
            frame = environment.folder / f"frame{number}.png"
            task["command"] = f"cp {environment.picture} {frame}; exec {task['command']}"
            task["files"] = [str(frame)]
        tasks.append(task)
    block = {"name": "b", "tasks": tasks, "flags": int(BlockFlags.CHECKRENDEREDFILES)}
    spec = parse_job({"job": {"name": mark, "blocks": [block]}})
    while True:
        problems = await _run_on(environment, environment.farm, spec, plan)
        if problems is not None:
            return problems


async def _run_on(
    environment: Environment, farm: Farm, spec: JobSpec, plan: Round
) -> list[str] | None:
    """Run the job on one farm; None if the farm died first."""
    problems: list[str] | None = None
    lost = environment.farm_lost
    async with trio.open_nursery() as nursery:

        async def cancel_when_lost() -> None:
            await lost.wait()
            nursery.cancel_scope.cancel()

        nursery.start_soon(cancel_when_lost)
        job = farm.submit(spec)
        for number, each in enumerate(plan.plans):
            if each.stop_after is not None:
                nursery.start_soon(_stop, farm, job, number, each.stop_after)
        view = await farm.wait(job)
        problems = check_job(
            plan.plans,
            view,
            environment.ends,
            disk_failed=plan.has(*DISK_FAULTS),
            log_exchanged=plan.has(SPECIAL_FILE),
        )
        steps = (step for task in view.tasks for step in task.why)
        environment.render_lost = any(step.event == "lost" for step in steps)
        nursery.cancel_scope.cancel()
    # A farm that has died stores nothing any more, also not what it is to forget.
    if not lost.is_set():
        await wait_any(lost.wait, partial(farm.forget_job, job))
    return problems


async def _stop(farm: Farm, job: int, number: int, after: float) -> None:
    """Stop a task some time after its start, again for each run of it."""
    stopped = ""

    def is_another_run(task: TaskView) -> bool:
        return task.state not in ("waiting", "ready") and task.run != stopped

    while (task := await _wait_for(farm, job, number, is_another_run)).state == "running":
        await trio.sleep(after)
        if farm.view(job).tasks[number].state == "running":
            stopped = task.run
            farm.stop_task(task.key, "chaos")


async def _wait_for(
    farm: Farm, job: int, number: int, condition: Callable[[TaskView], bool]
) -> TaskView:
    seen = 0
    while not condition(task := farm.view(job).tasks[number]):
        seen = await farm.changed(seen)
    return task


async def _check_leftovers(mark: str, times: int) -> list[str]:
    """Describe processes that still run at the last of several checks."""
    found: list[str] = []
    for _ in range(times):
        found = await trio.to_thread.run_sync(find_leftovers, mark)
        if not found:
            break
        await trio.sleep(0.05)
    return found

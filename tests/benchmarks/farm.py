"""An embedded farm of 1000 renders and 100,000 tasks: rounds, answers of the JSON interface, memory.

Everything runs in one thread without links and disks: this is the time in which the farm does nothing
else. Answers are measured up to their bytes. ``python tests/benchmarks/farm.py [--renders 1000]
[--tasks 100000] [--repeat 20]``.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import attrs
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.farm import ADMIN, FarmHarness, frames, one_job
from support.large_farm import add_renders

from trio_afrender.farm import updates
from trio_afrender.farm.job_edits import operate_job
from trio_afrender.farm.json_interface.answers import EncodedAnswer, encode_json
from trio_afrender.farm.json_interface.job_objects import describe_jobs, describe_progress
from trio_afrender.farm.json_interface.render_objects import describe_resources, encode_renders
from trio_afrender.farm.json_interface.task_messages import progress_of
from trio_afrender.farm.model import Job
from trio_afrender.farm.record_rows import make_rows
from trio_afrender.jobs.host_masks import HostMasks
from trio_afrender.protocol.messages import (
    HostResources,
    NetIF,
    TaskStatus,
    TaskUpdate,
    Update,
)

JOB_TASKS = 10_000
NETIF = NetIF(name="eth0", mac="02:00:00:00:00:01", addresses=("192.0.2.1",))
LOAD = HostResources(cpu_num=64, mem_total_mb=262_144)


def make_farm(count: int, tasks: int) -> tuple[FarmHarness, float]:
    """A farm whose renders each run four tasks, and its bytes of memory for each task."""
    farm = FarmHarness()
    add_renders(farm.state, count, 0.0, netifs=(NETIF,), load=lambda _number: LOAD)
    gc.collect()
    before = psutil.Process().memory_info().rss
    for number in range(max(1, tasks // JOB_TASKS)):
        user = f"user{number % 10}"
        spec = one_job(frames(1, JOB_TASKS), name=f"job {number}", user_name=user)
        farm.submit(spec)
    gc.collect()
    return farm, (psutil.Process().memory_info().rss - before) / tasks


def measure(name: str, repeat: int, function: Callable[[], object]) -> None:
    """Print a row: minimum and median in milliseconds, and the size of a result of bytes."""
    function()
    took = []
    for _ in range(repeat):
        begin = time.perf_counter()
        result = function()
        took.append((time.perf_counter() - begin) * 1000)
    size = f"{len(result) / 1000:.0f} kB" if isinstance(result, bytes) else ""
    sys.stdout.write(f"| {name} | {min(took):.1f} | {statistics.median(took):.1f} | {size} |\n")
    sys.stdout.flush()


def end_tasks(farm: FarmHarness, count: int) -> None:
    """One task of each of `count` renders ends, and the farm hands out others."""
    for render in list(farm.state.renders.values())[:count]:
        run = next(iter(render.running.values()))
        done = TaskUpdate(run=run.id, **run.key._asdict(), status=TaskStatus.FinishedSuccess)
        session = render.session
        assert session is not None
        updates.apply_update(farm.state, render, session, Update(seq=1, tasks=(done,)), farm.now)
    farm.assign()


def assign_to_all(farm: FarmHarness) -> None:
    """Ask all renders about all tasks."""
    farm.state.all_freed = True
    farm.assign()


def give_room(farm: FarmHarness) -> None:
    """Let all renders have room for tasks, and each job exclude all renders."""
    for render in farm.state.renders.values():
        render.effective = attrs.evolve(render.effective, capacity=10_000, max_tasks=10)
    for job in farm.state.jobs.values():
        job.masks = HostMasks(hosts=re.compile("x.*"))


def poll(farm: FarmHarness, count: int) -> bytes:
    """The changes of `count` tasks, as a monitor gets them."""
    state, (job, *_) = farm.state, farm.state.jobs.values()
    state.changes.take()
    for task in job.blocks[0].tasks[:count]:
        state.changes.note_task(task.key)
    keys = state.changes.take().tasks
    return encode_json({"progress": [progress_of(state, key) for key in keys]})


def make_task_rows(farm: FarmHarness) -> None:
    """The rows of all running tasks, as a batch for the database has them."""
    for render in farm.state.renders.values():
        for run in render.running.values():
            farm.state.unstored.note_task(run.task)
    make_rows(farm.state, farm.state.unstored.take(), farm.now)


def restart_job(farm: FarmHarness, job: Job) -> None:
    """Restart all tasks of a job."""
    operate_job(farm.state, job, {"type": "restart"}, ADMIN, farm.now)


def main(options: argparse.Namespace) -> None:
    repeat: int = options.repeat
    sys.stdout.write(f"{platform.python_version()}, {os.cpu_count()} cores\n")
    farm, memory = make_farm(options.renders, options.tasks)
    state = farm.state
    job = next(iter(state.jobs.values()))
    running = sum(len(render.running) for render in state.renders.values())
    sys.stdout.write(
        f"{options.renders:,} renders, {options.tasks:,} tasks, {running:,} running;"
        f" {memory:,.0f} bytes a task\n\n| what | min, ms | median, ms | answer |\n|---|---|---|---|\n"
    )
    measure("a round: one task ends", repeat, lambda: end_tasks(farm, 1))
    measure("a round: a task of each render ends", 3, lambda: end_tasks(farm, options.renders))
    measure("a round: no render has room", repeat, lambda: assign_to_all(farm))
    give_room(farm)
    measure("a round: a mask excludes all renders", repeat, lambda: assign_to_all(farm))
    everyone = state.renders.values
    measure(
        "get renders",
        repeat,
        lambda: encode_json(EncodedAnswer(encode_renders(state, everyone(), farm.now))),
    )
    measure(
        "get renders, resources",
        repeat,
        lambda: encode_json(
            {"renders": [describe_resources(state, render, farm.now) for render in everyone()]}
        ),
    )
    measure(
        f"get jobs, {len(state.jobs)} of them",
        repeat,
        lambda: encode_json({"jobs": describe_jobs(state, state.jobs.values(), farm.now)}),
    )

    def describe_changed_job() -> bytes:
        for block in job.blocks:
            block.summary = None
        return encode_json({"jobs": describe_jobs(state, [job], farm.now, full=True)})

    measure(f"get a job of {JOB_TASKS:,} tasks after a change", repeat, describe_changed_job)
    measure(
        f"get its progress, {JOB_TASKS:,} tasks",
        repeat,
        lambda: encode_json({"progress": describe_progress(job, 0)}),
    )
    state.unstored.collect()
    measure("rows of all running tasks", repeat, lambda: make_task_rows(farm))
    last = list(state.jobs.values())[-1]
    measure(f"restart a job of {JOB_TASKS:,} tasks", 3, lambda: restart_job(farm, last))
    state.changes.watch(on=True)
    measure(f"events of {JOB_TASKS:,} changed tasks", repeat, lambda: poll(farm, JOB_TASKS))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--renders", type=int, default=1000)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=20)
    main(parser.parse_args())

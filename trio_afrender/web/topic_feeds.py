"""What keeps the topics of single jobs, tasks and renders up to date while they have viewers.

Each feed runs until it is cancelled or what it is about is gone. A farm that is gone is waited for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import trio

from trio_afrender.errors import JobGone, LinkLost, LinkRefused, ProtocolError
from trio_afrender.text import count_text
from trio_afrender.web.farm_watch import FarmWatch
from trio_afrender.web.node_rows import (
    LOAD_FIELDS,
    block_row,
    meter_objects,
    render_details,
    render_row,
)
from trio_afrender.web.output_feed import feed_output
from trio_afrender.web.task_feed import feed_task
from trio_afrender.web.task_rows import tail_lines
from trio_afrender.web.topic import TableTopic, Topic, encode_json_text

__all__ = ("FEEDS", "Feed", "feed_tasks")

Feed: TypeAlias = Callable[[FarmWatch, Topic, tuple[int, ...]], Awaitable[None]]
_WHY_INTERVAL = 4.0
_WHY_JOBS = 10
"""Waiting jobs that are explained."""
_LOG_INTERVAL = 5.0
"""Seconds between two reads of the logs of a render."""
_TASK_LINES = 100
"""Of the log of its tasks, which is sent again with each line."""


async def feed_tasks(watch: FarmWatch, topic: Topic, numbers: tuple[int, ...]) -> None:
    """All tasks of a job."""
    (job,) = numbers
    with watch.watch_job(job) as tasks:
        generation = 0

        def publish(rows: list[str]) -> None:
            # In the same moment as the change: a snapshot made in between would have its renders.
            more = tasks.take_renders()
            added = f'"more_renders":{encode_json_text(more)},' if more else ""
            topic.publish_text(f'{{"topic":"{topic.name}",{added}"rows":[{",".join(rows)}]}}')

        tasks.publish = publish
        try:
            while not tasks.gone:
                try:
                    await watch.load_tasks(tasks)
                except (LinkLost, LinkRefused, ProtocolError):
                    await watch.round.wait()
                    continue
                if tasks.generation != generation:
                    generation = tasks.generation
                    tasks.take_renders()
                    topic.describe = lambda: tasks.describe(topic.name)
                    topic.replace()
                await tasks.wait()
        finally:
            # A feed that ends may still wait for an answer while the next one has begun.
            if tasks.publish is publish:
                tasks.publish = None
    topic.end(tasks.gone)


async def feed_blocks(watch: FarmWatch, topic: Topic, numbers: tuple[int, ...]) -> None:
    """The blocks of a job."""
    (job,) = numbers
    assert isinstance(topic, TableTopic)  # noqa: S101 - `FEEDS` says so
    while True:
        if watch.monitor is not None:
            if (node := watch.jobs.get(job)) is None:
                # With the words of the other topics of the job: a page shows those that come last.
                known = topic.describe is not None
                topic.end(f"job {job} was deleted" if known else f"there is no job {job}")
                return
            topic.update(map(block_row, node.blocks))
            topic.keep_only(block.number for block in node.blocks)
            topic.show()
        await watch.round.wait()


async def feed_render(watch: FarmWatch, topic: Topic, numbers: tuple[int, ...]) -> None:
    """One render with its load, its meters and its past."""
    (number,) = numbers
    shown: dict[str, object] = {}
    logs: dict[str, object] = {"log": [], "tasks_log": []}
    seen: object = None
    read_at = -_LOG_INTERVAL
    topic.describe = None

    def describe() -> str:
        points = watch.history.points(number)
        fields = {"topic": topic.name, "fields": LOAD_FIELDS, "points": points}
        return encode_json_text({**fields, **shown})

    last_point = 0.0
    while True:
        if watch.monitor is None:
            await watch.round.wait()
            continue
        if (render := watch.renders.get(number)) is None:
            topic.end(f"there is no render {number}")
            return
        state = (render.states, tuple((t.job, t.block, t.task, t.started) for t in render.tasks))
        if state != seen and trio.current_time() >= read_at + _LOG_INTERVAL:
            try:
                logs = {
                    "log": tail_lines(await watch.farm.node_log("renders", number)),
                    "tasks_log": tail_lines(await watch.farm.tasks_log(number), _TASK_LINES),
                }
                seen, read_at = state, trio.current_time()
            except (LinkLost, LinkRefused, ProtocolError):
                pass  # the next round notices it
        load = watch.loads.get(number)
        now: dict[str, object] = {
            "render": {**render_row(render), **render_details(render), **logs},
            "load": dict(load) if load is not None else None,
            "meters": meter_objects(load or {}),
        }
        changes = {key: value for key, value in now.items() if shown.get(key) != value}
        before, after = shown.get("render"), changes.get("render")
        if isinstance(before, dict) and isinstance(after, dict):
            changes["render"] = {k: v for k, v in after.items() if before.get(k) != v}
        past = watch.history.points(number)
        newest = (past[-1][0] or 0.0) if past else last_point
        # Of a clock that was set back, all points have other times.
        moved = newest < last_point
        points = [each for each in past if (each[0] or 0) > last_point]
        last_point = newest
        shown = now
        if topic.describe is None or moved:
            topic.describe = describe
            topic.replace()
        elif changes or points:
            topic.publish({**changes, **({"points": points} if points else {})})
        await watch.round.wait()


async def feed_why(watch: FarmWatch, topic: Topic, numbers: tuple[int, ...]) -> None:
    """What the waiting tasks of a job wait for, or those of the first jobs that have some."""
    shown: dict[str, object] | None = None

    def describe() -> str:
        return encode_json_text({"topic": topic.name, **(shown or {})})

    while True:
        if watch.monitor is None:
            await watch.round.wait()
            continue
        if numbers and numbers[0] not in watch.jobs:
            topic.end(f"there is no job {numbers[0]}")
            return
        try:
            found = await _explain(watch, numbers)
        except (LinkLost, LinkRefused, ProtocolError):
            await watch.round.wait()
            continue
        if found != shown:
            shown = found
            topic.describe = describe
            topic.replace()
        await trio.sleep(_WHY_INTERVAL)


async def _explain(watch: FarmWatch, numbers: tuple[int, ...]) -> dict[str, object]:
    waiting = [
        job
        for job in watch.jobs.values()
        if job.count("done") + job.count("error") + job.count("running") < job.tasks
        and (not numbers or job.id in numbers)
        and (numbers or not job.hidden)
    ]
    waiting.sort(key=lambda job: (-job.priority, job.created, job.id))
    jobs = []
    for job in waiting[:_WHY_JOBS]:
        try:
            answers = await watch.farm.why_waiting(job)
        except JobGone:
            continue
        blocks = [
            {
                "block": each.block,
                "name": each.block_name,
                "task": each.task,
                "tasks": each.tasks,
                "sentences": list(each.sentences[:100]),
            }
            for each in answers
        ]
        jobs.append({"id": job.id, "name": job.name, "user": job.user_name, "blocks": blocks})
    idle = ""
    if not waiting:
        online = sum(render.online for render in watch.renders.values())
        running = sum(job.count("running") for job in watch.jobs.values())
        idle = (
            f"no task waits; {count_text(running, 'task')} running on"
            f" {count_text(online, 'render')}"
        )
    return {"jobs": jobs, "idle": idle, "more": max(0, len(waiting) - _WHY_JOBS)}


FEEDS: Mapping[str, tuple[Feed, tuple[int, ...], type[Topic]]] = {
    "tasks": (feed_tasks, (1,), Topic),
    "blocks": (feed_blocks, (1,), TableTopic),
    "render": (feed_render, (1,), Topic),
    "task": (feed_task, (3,), Topic),
    "output": (feed_output, (3,), Topic),
    "why": (feed_why, (0, 1), Topic),
}
"""Name of a topic -> its feed, how many numbers may be behind the name, and its class."""

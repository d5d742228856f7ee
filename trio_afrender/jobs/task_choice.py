"""Which tasks of a job to run: blocks, frames, or those that an earlier report has not as done. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import attrs

from trio_afrender.errors import ConfigError
from trio_afrender.frame_ranges import first_common, frames_between, parse_ranges
from trio_afrender.jobs.job_spec import BlockSpec, JobSpec
from trio_afrender.jobs.views import JobView
from trio_afrender.text import count_text, quote_some, show_json, suggest

__all__ = ("TaskPlace", "choose_by_name", "choose_unfinished", "only_chosen")

TaskPlace = tuple[int, int]
"""The numbers of block and task."""
_GOOD = ("done", "skipped")
_SAMPLE = 60
"""Characters of a word that an error repeats."""


def choose_by_name(
    spec: JobSpec, words: Sequence[str], *, option: str = "--only"
) -> frozenset[TaskPlace]:
    """Return the tasks that ``BLOCK`` or ``BLOCK:FRAMES`` name, of all words together.

    In a block that lists its tasks, the numbers are those of tasks, from 0. Raises `ConfigError`, which
    names the `option`.
    """
    names = [block.name for block in spec.blocks]
    chosen: set[TaskPlace] = set()
    for word in words:
        # A block's name may have a colon.
        name, colon, frames = (word, "", "") if word in names else word.rpartition(":")
        if not colon and word not in names:
            name = word
        found = [number for number, each in enumerate(names) if each == name]
        if not found:
            hint = suggest(name[:_SAMPLE], names) or f": it has {quote_some(names)}"
            raise ConfigError(
                f'{option} {word[:_SAMPLE]}: the job has no block "{name[:_SAMPLE]}"{hint}'
            )
        try:
            wanted = parse_ranges(frames) if colon else ()
        except ValueError as error:
            raise ConfigError(f"{option} {word[:_SAMPLE]}: {error}") from None
        places = [
            (number, task)
            for number in found
            for task in (
                _find_tasks(spec.blocks[number], wanted)
                if colon
                else range(spec.blocks[number].task_count)
            )
        ]
        if not places:
            block = spec.blocks[found[0]]
            kind, last = "tasks 0", block.task_count - 1
            if block.numeric:
                kind, last = f"frames {block.frame_first}", block.frame_last
            raise ConfigError(
                f'{option} {word[:_SAMPLE]}: the block "{name[:_SAMPLE]}" has {kind} to {last}'
            )
        chosen.update(places)
    return frozenset(chosen)


def only_chosen(job: JobView, chosen: Collection[TaskPlace] | None) -> JobView:
    """Return a view of a job with the chosen tasks alone; None: of all."""
    if chosen is None:
        return job
    tasks = tuple(task for task in job.tasks if (task.block, task.task) in chosen)
    return attrs.evolve(job, tasks=tasks, counts=Counter(task.state for task in tasks))


def _find_tasks(block: BlockSpec, wanted: Sequence[range]) -> set[int]:
    """Return the tasks with any of these frames; in a list, those with these numbers."""
    count, of_block, per_task = block.task_count, range(block.task_count), 1
    if block.numeric:
        of_block = frames_between(block.frame_first, block.frame_last, block.frames_inc)
        per_task = block.frames_per_task
    found: set[int] = set()
    for frames in wanted:
        first = first_common(of_block, frames)
        if first is None:
            continue
        last = min(of_block[-1], frames[-1])
        common = range(first, last + 1, math.lcm(of_block.step, frames.step))
        # Of tasks with many frames each task is looked at, else each frame.
        if len(common) <= count:
            found.update(of_block.index(frame) // per_task for frame in common)
        else:
            found.update(task for task in range(count) if _has_any(block, task, frames))
    return found


def _has_any(block: BlockSpec, task: int, wanted: range) -> bool:
    start, finish, _ = block.frames(task)
    return first_common(frames_between(start, finish, block.frames_inc), wanted) is not None


def choose_unfinished(spec: JobSpec, report: object, name: str) -> frozenset[TaskPlace]:
    """Return the tasks that `report`, of an earlier run of the same job, has not as done or skipped.

    `name` is that of its file. Raises `ConfigError` for a report of another job.
    """
    tasks = report.get("tasks") if isinstance(report, Mapping) else None
    if not isinstance(tasks, list) or not all(isinstance(task, Mapping) for task in tasks):
        raise ConfigError(f"{name}: not a report of a run: it has no list of tasks")
    count = sum(block.task_count for block in spec.blocks)
    if len(tasks) != count:
        counts = f"{count_text(len(tasks), 'task')}, the job has {count}"
        raise ConfigError(f"{name}: a report of another job: it has {counts}")
    found, seen = set(), set()
    for task in tasks:
        block, number = task.get("block"), task.get("task")
        if not (isinstance(block, int) and isinstance(number, int)) or (block, number) in seen:
            raise ConfigError(f"{name}: not a report of a run: {show_json(task)}")
        seen.add((block, number))
        known = spec.blocks[block] if 0 <= block < len(spec.blocks) else None
        if known is None or not 0 <= number < known.task_count:
            raise ConfigError(
                f"{name}: a report of another job: this one has no task {block}.{number}"
            )
        if task.get("name") != (own := known.task_name(number)):
            is_called = show_json(task.get("name"))
            raise ConfigError(
                f"{name}: a report of another job: task {block}.{number} is {is_called} there, "
                f"{show_json(own)} here"
            )
        if task.get("state") not in _GOOD:
            found.add((block, number))
    return frozenset(found)

"""Translate an afserver's JSON answers about a job into the embedded farm's `JobView`. No I/O."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from trio_afrender.errors import ProtocolError
from trio_afrender.jobs.job_spec import JobSpec
from trio_afrender.jobs.views import JobView, TaskView
from trio_afrender.protocol.messages import TaskKey

__all__ = ("RemoteTexts", "make_view")

_READY, _RUNNING, _DONE, _ERROR, _SKIPPED = (1 << bit for bit in (0, 1, 4, 5, 8))
_DEPENDS, _TIME, _ERROR_READY, _RECONNECT, _SUSPENDED = (1 << bit for bit in (2, 3, 17, 18, 20))
_ACTIVE_STATES = _READY | _RUNNING | _TIME | _ERROR_READY | _RECONNECT | _SUSPENDED
"""States of tasks that run, or may run without a user's request. Tasks that depend on others are
not included: when a task has failed for good, its dependants wait for ever."""


@attrs.define(slots=True)
class RemoteTexts:
    """The texts of tasks that have been fetched; all others are empty."""

    logs: dict[TaskKey, str] = attrs.field(factory=dict)
    outputs: dict[TaskKey, str] = attrs.field(factory=dict)

    def log(self, key: TaskKey) -> str:
        return self.logs.get(key, "")

    def output(self, key: TaskKey, attempt: int) -> str:
        return self.outputs.get(key, "")

    def path(self, key: TaskKey, name: str) -> Path:
        return Path(name)


def make_view(
    spec: JobSpec,
    number: int,
    job: Mapping[str, Any],
    progress: Sequence[Sequence[Any]],
    texts: RemoteTexts,
) -> JobView:
    """Return the view of a job from its fields and its progress. Raises `ProtocolError`.

    `progress` may contain more tasks than `spec`, because other users can append tasks to a job.
    """
    # The job's own state is not used: after the skip of a running task it kept "RUN" although the
    # task was done. Its tasks' states are right.
    try:
        waiting = (bool(_number(each, "st") & _DEPENDS) for each in job.get("blocks", ()))
        # The summary is older than the progress and lacks blocks that were appended in between.
        blocks = zip(progress, itertools.chain(waiting, itertools.repeat(False)), strict=False)
        rows = []
        for b, (block, waits) in enumerate(blocks):
            for t, each in enumerate(block):
                bits = _number(each, "st")
                # The server lists the tasks of a block that waits as ready; only the block's state
                # tells.
                if waits and bits & _READY:
                    bits = bits & ~_READY | _DEPENDS
                rows.append((TaskKey(number, b, t, 0), bits, each))
        states = [bits for _, bits, _ in rows]
        failed = any(state & _ERROR for state in states)
        # Over: nothing more happens without a user's request. If some tasks depend on others and
        # none has failed, the job waits for another job.
        over = not any(state & _ACTIVE_STATES for state in states) and (
            failed or all(state & (_DONE | _ERROR) for state in states)
        )
        tasks = tuple(
            _make_task(spec, key, each, _state_name(bits, over=over), texts)
            for key, bits, each in rows
        )
    except (AttributeError, TypeError) as error:
        raise ProtocolError(f"the progress of job {number} cannot be read: {error}") from error
    return JobView(
        id=number,
        name=spec.name,
        user_name=str(job.get("user_name", spec.user_name)),
        state=("error" if failed else "done") if over else "running",
        started=min((task.started for task in tasks if task.started), default=None),
        finished=max((t.finished for t in tasks if t.finished), default=None) if over else None,
        counts=Counter(task.state for task in tasks),
        tasks=tasks,
    )


def _make_task(
    spec: JobSpec, key: TaskKey, progress: Mapping[str, Any], state: str, texts: RemoteTexts
) -> TaskView:
    """Return the view of one task. The server has no run ids: `run` is the number of the latest."""
    block = spec.blocks[key.block] if key.block < len(spec.blocks) else None
    known = block is not None and key.task < block.task_count
    ended = state in ("done", "error", "skipped")
    began, last = _number(progress, "tst"), _number(progress, "tdn")
    # "str" counts starts that were given back as well, so attempts are counted by their errors.
    attempts = _number(progress, "err") + (state in ("running", "done"))
    return TaskView(
        job=key.job,
        block=key.block,
        task=key.task,
        run=str(_number(progress, "str") or ""),
        name=block.task_name(key.task) if block and known else f"task {key.task}",
        block_name=block.name if block else f"block {key.block}",
        service=block.service if block else "",
        render=str(progress.get("hst", "")),
        state=state,
        started=float(began) if began else None,
        finished=float(last) if ended and last else None,
        attempts=attempts,
        percent=100 if state == "done" else _number(progress, "per"),
        frame=_number(progress, "frm"),
        frames=block.frame_span(key.task) if block and known else None,
        percentframe=_number(progress, "pfr"),
        activity=str(progress.get("act", "")),
        resources=str(progress.get("res", "")),
        attempt=attempts,
        texts=texts,
    )


def _state_name(bits: int, *, over: bool) -> str:
    # A task has several bits at once, so the order of the checks counts.
    if bits & _DONE:
        return "skipped" if bits & _SKIPPED else "done"
    if bits & (_RUNNING | _RECONNECT):
        return "running"
    if bits & (_READY | _ERROR_READY):
        return "ready"
    if bits & _ERROR:
        return "error"
    return "killed" if over else "waiting"


def _number(fields: Mapping[str, Any], key: str) -> int:
    value = fields.get(key, 0)
    if not isinstance(value, int):
        raise TypeError(f"{key} is {value!r}, not a number")
    return value

"""A job on an afserver, as the same snapshot that the embedded farm gives of its own."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from trio_afrender.errors import ProtocolError
from trio_afrender.jobs.job_spec import JobSpec
from trio_afrender.jobs.views import JobView, TaskView
from trio_afrender.protocol.messages import TaskKey

__all__ = ("RemoteTexts", "is_paused", "make_view", "questions")

_READY, _RUNNING, _DONE, _ERROR, _SKIPPED, _PAUSED = (1 << bit for bit in (0, 1, 4, 5, 8, 9))
_DEPENDS, _TIME, _ERROR_READY, _RECONNECT, _SUSPENDED = (1 << bit for bit in (2, 3, 17, 18, 20))
_ACTIVE_STATES = _READY | _RUNNING | _TIME | _ERROR_READY | _RECONNECT | _SUSPENDED
"""States of tasks that will or may run without anybody's doing; those that depend are not among
them: once a task has failed for good, what depends on it waits for ever."""


@attrs.define(slots=True)
class RemoteTexts:
    """What was fetched of the texts of tasks; the rest is empty."""

    logs: dict[TaskKey, str] = attrs.field(factory=dict)
    outputs: dict[TaskKey, str] = attrs.field(factory=dict)

    def log(self, key: TaskKey) -> str:
        return self.logs.get(key, "")

    def output(self, key: TaskKey, attempt: int) -> str:
        return self.outputs.get(key, "")

    def path(self, key: TaskKey, name: str) -> Path:
        return Path(name)


def questions(number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What to ask for `make_view`: the job in short, and the progress of its tasks."""
    get = {"type": "jobs", "ids": [number]}
    return {"get": get}, {"get": {**get, "mode": "progress"}}


def is_paused(job: Mapping[str, Any]) -> bool:
    """Whether somebody has paused the job (``OFF``)."""
    return bool(_number(job, "st") & _PAUSED)


def make_view(
    spec: JobSpec,
    number: int,
    job: Mapping[str, Any],
    progress: Sequence[Sequence[Mapping[str, Any]]],
    texts: RemoteTexts,
) -> JobView:
    """The job as the server's answers to `questions` tell it. Raises `ProtocolError`.

    `progress` may know more tasks than `spec`: others may add some to a job.
    """
    try:
        rows = [
            (TaskKey(number, b, t, 0), _state_bits(each, waits), each)
            for b, (block, waits) in enumerate(zip(progress, _waiting(job), strict=False))
            for t, each in enumerate(block)
        ]
        states = [bits for _, bits, _ in rows]
        over = _is_over(states)
        tasks = tuple(
            _task(spec, key, each, _state(bits, over=over), texts) for key, bits, each in rows
        )
    except (AttributeError, TypeError) as error:
        raise ProtocolError(f"the progress of job {number} cannot be read: {error}") from error
    failed = any(state & _ERROR for state in states)
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


def _waiting(job: Mapping[str, Any]) -> Iterator[bool]:
    """For each block whether it waits for others: its tasks are called ready meanwhile."""
    blocks = job.get("blocks", ())
    for block in blocks:
        yield bool(_number(block, "st") & _DEPENDS)
    yield from itertools.repeat(False)


def _state_bits(said: Mapping[str, Any], waits: bool) -> int:
    bits = _number(said, "st")
    return bits & ~_READY | _DEPENDS if waits and bits & _READY else bits


def _is_over(states: Sequence[int]) -> bool:
    """Whether nothing more will happen by itself. A job that has tasks that depend and none that
    failed waits for another job."""
    if any(state & _ACTIVE_STATES for state in states):
        return False
    return all(state & (_DONE | _ERROR) for state in states) or any(s & _ERROR for s in states)


def _task(
    spec: JobSpec, key: TaskKey, said: Mapping[str, Any], state: str, texts: RemoteTexts
) -> TaskView:
    """One task. Its runs have no names there, so `run` is the number of the latest."""
    block = spec.blocks[key.block] if key.block < len(spec.blocks) else None
    known = block is not None and key.task < block.task_count
    ended = state in ("done", "error", "skipped")
    began, last = _number(said, "tst"), _number(said, "tdn")
    attempts = _number(said, "err") + (state in ("running", "done"))
    return TaskView(
        job=key.job,
        block=key.block,
        task=key.task,
        run=str(_number(said, "str") or ""),
        name=block.task_name(key.task) if block and known else f"task {key.task}",
        block_name=block.name if block else f"block {key.block}",
        service=block.service if block else "",
        render=str(said.get("hst", "")),
        state=state,
        started=float(began) if began else None,
        finished=float(last) if ended and last else None,
        attempts=attempts,
        percent=100 if state == "done" else _number(said, "per"),
        frame=_number(said, "frm"),
        percentframe=_number(said, "pfr"),
        activity=str(said.get("act", "")),
        resources=str(said.get("res", "")),
        attempt=attempts,
        texts=texts,
    )


def _state(bits: int, *, over: bool) -> str:
    if bits & _DONE:
        return "skipped" if bits & _SKIPPED else "done"
    if bits & (_RUNNING | _RECONNECT):
        return "running"
    if bits & (_READY | _ERROR_READY):
        return "ready"
    if bits & _ERROR:
        return "error"
    return "killed" if over else "waiting"


def _number(said: Mapping[str, Any], key: str) -> int:
    value = said.get(key, 0)
    if not isinstance(value, int):
        raise TypeError(f"{key} is {value!r}, not a number")
    return value

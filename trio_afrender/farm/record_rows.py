"""Records of the farm as JSON texts for the database, and the farm made of them again. No I/O.

The farm's own clock begins anew with each process, so times of it are kept as Unix time. Of a task
only what differs from a new one is kept, and a task that nothing has happened to has no row.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import attrs
import cattrs

from trio_afrender.errors import JobError
from trio_afrender.farm.database import DamagedRecords, RecordRows, StoredRecords
from trio_afrender.farm.model import (
    FarmStopKind,
    RenderState,
    Run,
    Stop,
    Task,
    TaskState,
    User,
)
from trio_afrender.farm.node_log import NodeLog
from trio_afrender.farm.render_edits import (
    StoredRender,
    restore_pool,
    restore_render,
    store_render,
)
from trio_afrender.farm.render_parameters import PoolParameters
from trio_afrender.farm.state import FarmState, OutgoingMessages, Removal
from trio_afrender.farm.transitions import add_job, check_spec, hold_until, make_job, refresh
from trio_afrender.farm.unstored import ChangedRecords
from trio_afrender.jobs.host_masks import compile_masks
from trio_afrender.jobs.job_spec import BlockSpec, HostNeeds, JobSpec
from trio_afrender.protocol.messages import Reason, Register, TaskKey, TaskUsage

__all__ = ("make_rows", "restore")

_CONVERTER = cattrs.Converter()
"""For specifications and parameters: frozen values with defaults. It ignores unknown keys."""

_JOB_PLAIN = ("state", "started", "finished", "created", "position", "paused", "deleting", "ending")
_USER_PLAIN = (
    "id", "name", "host_name", "time_register", "time_activity", "priority", "annotation",
    "custom_data", "srv_info", "hidden", "paused", "hosts_mask_type", "errors_retries",
    "errors_avoid_host", "errors_task_same_host", "errors_forgive_time", "jobs_life_time",
)  # fmt: skip
_TASK_PLAIN: dict[str, object] = {
    "errors": 0, "attempts": 0, "status": None, "exit_code": None, "started": None,
    "finished": None, "percent": 0, "frame": 0, "percentframe": 0, "activity": "", "report": "",
    "resources": "", "marks": 0,
}  # fmt: skip
"""Attributes of a task and their values at first."""


# Records to rows


def make_rows(state: FarmState, changed: ChangedRecords, now: float) -> RecordRows:
    """The rows for what has changed."""
    since = state.wall() - now
    rows = RecordRows(
        counters=[
            (name, getattr(state, name)) for name in ("next_job", "next_render", "next_user")
        ],
        renders=[
            (render.id, _dump(_CONVERTER.unstructure(store_render(render))))
            for render in changed.renders
        ],
        deleted_jobs=sorted(changed.deleted_jobs),
        deleted_users=sorted(changed.deleted_users),
        deleted_renders=sorted(changed.deleted_renders),
    )
    if changed.pool:
        pool = {"parameters": _CONVERTER.unstructure(state.pool), "log": state.pool_log.entries}
        rows.pool = _dump(pool)
    for user in changed.users:
        data = {name: getattr(user, name) for name in _USER_PLAIN}
        data |= {"needs": _CONVERTER.unstructure(user.needs), "log": user.node_log.entries}
        rows.users.append((user.id, _dump(data)))
    for job, spec in changed.jobs.items():
        # Without its blocks: they have rows of their own.
        text = partial(_dump_spec, attrs.evolve(job.spec, blocks=())) if spec else None
        data = {name: getattr(job, name) for name in _JOB_PLAIN}
        data["held"] = job.held
        data["before"] = [other.id for other in job.before]
        data["try_next"] = [(task.key.block, task.key.task) for task in job.try_next]
        data["log"] = job.node_log.entries
        rows.jobs.append((job.id, text, _dump(data)))
    for block, spec in changed.blocks.items():
        text = partial(_dump_spec, block.spec) if spec else None
        data = {"error_hosts": _to_unix(block.error_hosts, since)}
        rows.blocks.append((block.job.id, block.number, text, _dump(data)))
    for task in changed.tasks:
        # All tasks of a new job are as the specification makes them: these have no rows.
        waits = task.state is TaskState.READY or task.state is TaskState.WAITING
        if task.stored or not waits or task.attempts or task.marks or task.why or task.errors:
            task.stored = True
            rows.tasks.append((*task.key[:3], _dump(_task_data(task, since))))
    return rows


def _dump(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _to_unix(hosts: Mapping[str, tuple[int, float]], since: float) -> dict[str, tuple[int, float]]:
    return {name: (count, last + since) for name, (count, last) in hosts.items()}


def _dump_spec(spec: JobSpec | BlockSpec) -> str:
    return _dump(_CONVERTER.unstructure(spec))


def _task_data(task: Task, since: float) -> dict[str, object]:
    data: dict[str, object] = {
        name: value
        for name, default in _TASK_PLAIN.items()
        if (value := getattr(task, name)) != default
    }
    if task.state not in (TaskState.WAITING, TaskState.READY):
        data["state"] = task.state
    if task.error_hosts:
        data["error_hosts"] = _to_unix(task.error_hosts, since)
    if task.usage is not None:
        data["usage"] = _CONVERTER.unstructure(task.usage)
    if task.files:
        data["files"] = list(task.files)
    if task.why:
        data["why"] = [(step.time, step.event, step.text, step.pids) for step in task.why]
    if task.last_run is not None:
        run = task.last_run
        run_data: dict[str, object] = {
            "id": run.id,
            "attempt": run.attempt,
            "render": run.render.name,
        }
        if run.task.run is run:
            run_data |= {
                "capacity": run.capacity,
                "assigned": run.assigned + since,
                "suspended": run.suspended,
                "resumed": run.resumed,
                "entries": (run.log_n, run.listened_n, run.files_n),
            }
            if run.stop is not None:
                run_data["stop"] = (run.stop.kind.value, run.stop.reason)
        data["run"] = run_data
    return data


# Rows to records


def restore(state: FarmState, stored: StoredRecords, now: float) -> None:
    """Fill a new farm with what is stored. Its texts are where they were.

    Tasks that ran wait for their renders for a zombie time, then they are queued again. Raises
    `DamagedRecords` for a record that is not what `make_rows` makes; the farm is of no use then.
    """
    since = state.wall() - now
    for name, value in stored.counters.items():
        if name in ("next_job", "next_render", "next_user"):
            setattr(state, name, max(value, getattr(state, name)))
    before: dict[int, list[int]] = {}
    if stored.pool is not None:
        with _reading(stored, "the pool"):
            pool: dict[str, Any] = json.loads(stored.pool)
            restore_pool(state, _CONVERTER.structure(pool["parameters"], PoolParameters))
            state.pool_log = NodeLog(pool["log"])
    for text in stored.users:
        with _reading(stored, "a user"):
            data: dict[str, Any] = json.loads(text)
            needs = _CONVERTER.structure(data["needs"], HostNeeds)
            user = User(
                **{name: data[name] for name in _USER_PLAIN},
                needs=needs,
                masks=compile_masks(needs, data["hosts_mask_type"]),
                node_log=NodeLog(data["log"]),
            )
            state.users[user.name] = user
            state.next_user = max(state.next_user, user.id + 1)
    for text in stored.renders:
        with _reading(stored, "a render"):
            restore_render(state, _CONVERTER.structure(json.loads(text), StoredRender))
    blocks: dict[int, list[tuple[str, str]]] = {}
    for job_id, _, spec, text in stored.blocks:
        blocks.setdefault(job_id, []).append((spec, text))
    for job_id, spec, text in stored.jobs:
        with _reading(stored, f"job {job_id}"):
            _restore_job(state, job_id, spec, text, blocks.get(job_id, []), before, since)
    for job_id, block, task, text in stored.tasks:
        with _reading(stored, f"task {job_id}.{block}.{task}"):
            _restore_task(state, TaskKey(job_id, block, task), text, since, now)
    # What the restored states would have sent has been sent before.
    texts = [Removal(TaskKey(job, 0, 0)) for job in stored.removed]
    state.outgoing = OutgoingMessages(changed=True, writes=[*texts])
    state.unstored.collect()
    _connect_jobs(state, before, now)


@contextmanager
def _reading(stored: StoredRecords, what: str) -> Iterator[None]:
    """Turn errors of the block, which reads a record, into one that names the record and the file."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, JobError) as error:
        raise DamagedRecords(stored.path, f"{what}: {error!r}") from error
    except cattrs.BaseValidationError as error:
        problem = "; ".join(cattrs.transform_error(error))
        raise DamagedRecords(stored.path, f"{what}: {problem}") from error


def _from_unix(
    hosts: Mapping[str, tuple[int, float]], since: float
) -> dict[str, tuple[int, float]]:
    return {name: (int(count), float(last) - since) for name, (count, last) in hosts.items()}


def _restore_job(
    state: FarmState,
    number: int,
    spec_text: str,
    text: str,
    rows: list[tuple[str, str]],
    before: dict[int, list[int]],
    since: float,
) -> None:
    data: dict[str, Any] = json.loads(text)
    spec = attrs.evolve(
        _CONVERTER.structure(json.loads(spec_text), JobSpec),
        blocks=tuple(_CONVERTER.structure(json.loads(each), BlockSpec) for each, _ in rows),
    )
    job = make_job(number, state.make_user(spec.user_name), check_spec(spec))
    for name in _JOB_PLAIN:
        setattr(job, name, data[name])
    job.held = data["held"]
    before[number] = data["before"]
    job.node_log = NodeLog(data["log"])
    for block, (_, block_text) in zip(job.blocks, rows, strict=True):
        block.error_hosts = _from_unix(json.loads(block_text)["error_hosts"], since)
    job.try_next = [job.blocks[block].tasks[task] for block, task in data["try_next"]]
    add_job(state, job)
    state.next_job = max(state.next_job, number + 1)


def _restore_task(state: FarmState, key: TaskKey, text: str, since: float, now: float) -> None:
    task = state.find_task(key)
    data: dict[str, Any] = json.loads(text)
    task.stored = True
    for name in _TASK_PLAIN.keys() & data.keys():
        setattr(task, name, data[name])
    if "error_hosts" in data:
        task.error_hosts = _from_unix(data["error_hosts"], since)
    if "usage" in data:
        task.usage = _CONVERTER.structure(data["usage"], TaskUsage)
    task.files = dict.fromkeys(data.get("files", ()))
    if task.files:
        task.block.job.thumbnail = (key, next(reversed(task.files)))
    task.why = [
        Reason(time=time, event=event, text=words, pids=tuple(pids))
        for time, event, words, pids in data.get("why", ())
    ]
    run = None
    if "run" in data:
        of_run = data["run"]
        name = of_run["render"]
        render = state.renders.get(name)
        if render is None:  # deleted: it has the name in what it once did
            render = RenderState(id=0, name=name, register=Register(name=name))
        run = task.last_run = Run(
            id=of_run["id"],
            task=task,
            attempt=of_run["attempt"],
            render=render,
            capacity=of_run.get("capacity", 0),
            assigned=of_run.get("assigned", 0.0) - since,
            progressed=0.0,
            sent=True,
            over=True,
            suspended=of_run.get("suspended", ""),
            resumed=of_run.get("resumed", False),
        )
        run.log_n, run.listened_n, run.files_n = of_run.get("entries", (-1, -1, -1))
        if "stop" in of_run:
            kind, reason = of_run["stop"]
            run.stop = Stop(FarmStopKind(kind), reason)
    kept = TaskState(data.get("state", TaskState.WAITING))
    if kept is TaskState.RUNNING:
        # Without its render it is queued again.
        if run is not None and run.render.name in state.renders:
            run.over = False
            state.add_run(run)
            # Progress counts from now on: the farm has not been there to receive any.
            state.attach(run, now)
    else:
        state.set_state(task, kept)


def _connect_jobs(state: FarmState, before: Mapping[int, list[int]], now: float) -> None:
    """Bring what follows from the states of all tasks and jobs in line with them."""
    for render in state.renders.values():
        if render.running:
            render.lost_at = now + state.settings.zombie_time
            state.check_by(render.lost_at)
    for job in state.jobs.values():
        job.before = [state.jobs[each] for each in before[job.id] if each in state.jobs]
        if job.held and not job.over:
            hold_until(state, job, now)
        state.life_over(job, now)
    state.check_by(now)
    for job in list(state.jobs.values()):
        refresh(state, job, now)

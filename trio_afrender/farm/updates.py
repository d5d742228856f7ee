"""Applies updates of renders. Each entry counts once, however often it is delivered.

Delivery is at least once: a render repeats what was not acknowledged, and outcomes until they are
closed. Entries of logs, listened output and files carry numbers that grow within a run.
"""

from __future__ import annotations

import attrs

from trio_afrender.farm.model import FarmStopKind, RenderState, Run, TaskState
from trio_afrender.farm.placement import error_rule, why_avoided_by_block
from trio_afrender.farm.render_states import host_event
from trio_afrender.farm.renders import note_error, note_success, watch_load
from trio_afrender.farm.state import AttemptOutput, FarmState, FileData
from trio_afrender.farm.task_bits import STATUS_MARKS, TaskBit
from trio_afrender.farm.transitions import finish, put_back, queue_again, resume_lost_run
from trio_afrender.protocol.messages import (
    FilesEntry,
    Reason,
    RunRef,
    TaskStatus,
    TaskUpdate,
    Update,
)
from trio_afrender.text import clean_name

__all__ = ("apply_update",)

_MAX_FILE = 100_000
"""Bytes of one file."""
_MAX_TEXT = 2000
"""Characters kept of each text in a view; outputs and logs go to the store."""
_MAX_WHY = 200
"""Reasons taken from one outcome, the last ones."""
_MAX_TIME = 250_000_000_000.0
"""Unix time in the year 9892: not all systems have dates beyond 9999."""
_MAX_FILES = 1000
"""Names kept for a task."""
_REPLACING = (FarmStopKind.RESTART, FarmStopKind.SKIP, FarmStopKind.DONE)
"""Stops that decide on the task whatever the outcome of the run."""


def apply_update(
    state: FarmState, render: RenderState, session: int, update: Update, now: float
) -> tuple[RunRef, ...]:
    """Apply an update; return the runs to close once its texts are stored.

    An update of a session that has been superseded has no effect.
    """
    if render.session != session:
        return ()
    # Logs, listened output and files come before states: an outcome ends their run.
    for log in update.log:
        run = _find_run(state, render, log.run)
        if run is not None and log.n > run.log_n:
            run.log_n = log.n
            state.write_log(run.task, log.text)
            state.unstored.note_task(run.task)
    for listened in update.listened:
        run = _find_run(state, render, listened.run)
        if run is not None and listened.n > run.listened_n:
            run.listened_n = listened.n
            state.outgoing.listened.append((run.key, listened.text))
    for files in update.files:
        _apply_files(state, render, files)
    for asked in update.outputs:
        run = _find_run(state, render, asked.run)
        if run is not None:
            run.task.asked = False
            state.outgoing.answers.append((run.id, asked.output))
    if update.resources is not None:
        render.resources = update.resources
        watch_load(state, render, now)
        state.freed.add(render.name)
        state.outgoing.changed = True
    if update.state is not None and update.state != render.reported:
        render.reported = update.state
        state.move_render(render, host_event(update.state))
    return tuple(RunRef.of(u) for u in update.tasks if _apply_task(state, render, u, now))


def _find_run(state: FarmState, render: RenderState, run_id: str) -> Run | None:
    """The run of that id; None unless it is one of this render: others must not report on it."""
    run = state.runs.get(run_id)
    return run if run is not None and run.render is render else None


def _apply_files(state: FarmState, render: RenderState, entry: FilesEntry) -> None:
    run = _find_run(state, render, entry.run)
    if run is None or entry.n <= run.files_n:
        return
    run.files_n = entry.n
    task = run.task
    for file in entry.files:
        name = clean_name(file.name)
        if not name or len(file.data) > _MAX_FILE:
            problem = f"larger than {_MAX_FILE} bytes" if name else "not a file name"
            state.why(task, "refused", f"file {file.name[:200]!r}: {problem}")
        elif name in task.files or len(task.files) < _MAX_FILES:
            task.files[name] = None
            task.block.job.thumbnail = (task.key, name)
            state.outgoing.writes.append(FileData(task.key, name, file.data))
            state.touch(task)
        else:
            state.why(task, "refused", f"file {name!r}: the task has {_MAX_FILES} files already")


def _apply_task(state: FarmState, render: RenderState, update: TaskUpdate, now: float) -> bool:
    """Apply one task state; True when the run has to be closed.

    Also for a run that is unknown, over or taken away: the render keeps its outcome until then.
    """
    run = _find_run(state, render, update.run)
    if run is None or run.over or run.key != update.key:
        return True
    if run.lost and not resume_lost_run(state, run, now):
        return True
    task = run.task
    task.status = int(update.status)
    task.marks |= STATUS_MARKS.get(update.status, 0)
    if update.progress_changed:
        run.progressed = now
    # These two come without figures.
    if update.status not in (TaskStatus.NoUpdate, TaskStatus.Started):
        task.percent = update.percent
        task.frame = update.frame
        task.percentframe = update.percentframe
    # Empty and missing ones mean: keep the last.
    task.activity = update.activity[:_MAX_TEXT] or task.activity
    task.report = update.report[:_MAX_TEXT] or task.report
    task.resources = update.resources[:_MAX_TEXT] or task.resources
    task.usage = update.usage or task.usage
    state.touch(task)
    if not update.status.terminal:
        return False
    state.detach(run)
    run.over = True
    task.exit_code = update.exit_code
    # One number for both, as in `jobs.report`: a signal is negative.
    if update.exit_code is None and update.exit_signal is not None:
        task.exit_code = -update.exit_signal
    if update.started is not None and _is_time(update.started):
        task.started = update.started
    finished = update.finished
    task.finished = finished if finished is not None and _is_time(finished) else state.wall()
    if update.output:
        state.outgoing.writes.append(AttemptOutput(task.key, run.attempt, update.output))
    why = tuple(_bounded(state, step) for step in update.why[-_MAX_WHY:])
    state.add_why(task, why)
    if run.log_n < 0:
        # A render that sends log entries has put its reasons at their end.
        state.log_why(task, why)
    if update.leftovers:
        state.why(task, "leftover", f"still alive there: {', '.join(map(str, update.leftovers))}")
    state.log(task, f"{update.status.name} ({int(update.status)}) from {render.name!r}")
    state.write_log(task, "")
    if not update.status.given_back:
        render.given_back = 0
    _apply_outcome(state, run, update, now)
    return True


def _is_time(when: float) -> bool:
    """Whether a time of a render is one that can be shown as a date."""
    return 0 <= when < _MAX_TIME


def _bounded(state: FarmState, step: Reason) -> Reason:
    time = step.time if _is_time(step.time) else state.wall()
    return attrs.evolve(step, time=time, text=step.text[:_MAX_TEXT])


def _apply_outcome(state: FarmState, run: Run, update: TaskUpdate, now: float) -> None:
    """Give the task the state that follows from the outcome of its run."""
    task, stop, status = run.task, run.stop, update.status
    if stop is not None and stop.kind in _REPLACING:
        put_back(state, run, now)
    elif status is TaskStatus.Skip:
        finish(state, task, TaskState.SKIPPED, now)
    elif status.success:
        least = task.block.spec.task_min_run_time
        took = (task.finished or 0.0) - (task.started or 0.0)
        # A success that a parser has found in the output counts whatever its duration.
        if least and took < least and task.status != TaskStatus.FinishedParserSuccess:
            state.why(task, "rule", f"done after {took:.1f} s, task_min_run_time is {least} s")
            task.status = int(TaskStatus.FinishedError)
            _apply_error(state, run, now, final=False)
        else:
            task.percent = 100
            note_success(run.render)
            finish(state, task, TaskState.DONE, now)
    elif stop is not None and stop.kind is FarmStopKind.ASKED:
        finish(state, task, TaskState.KILLED, now)
    elif status.given_back and stop is None:
        # The render gets nothing for a while, longer each time: else it would get the task that it
        # has just given back again at once.
        settings, render = state.settings, run.render
        wait = min(settings.pause_limit, settings.pause * 2 ** min(render.given_back, 30))
        render.given_back += 1
        render.paused_until = now + wait
        state.check_by(render.paused_until)
        put_back(state, run, now)
    else:
        _apply_error(state, run, now, final=status is TaskStatus.FinishedParserFatalError)


def _apply_error(state: FarmState, run: Run, now: float, *, final: bool) -> None:
    """Count an error and retry the task, unless that was its last attempt."""
    task, block, host = run.task, run.task.block, run.render.name
    note_error(state, run.render, run)
    task.errors += 1
    # The render gets the block, or the task, no more after some errors: see `farm.placement`.
    forgive = error_rule(state.settings, block, "errors_forgive_time")
    if task.error_hosts is None:
        task.error_hosts = {}
    for hosts in (block.error_hosts, task.error_hosts):
        count, last = hosts.get(host, (0, now))
        hosts[host] = (1 if 0 < forgive <= now - last else count + 1, now)
    state.unstored.note_block(block)
    if block.error_hosts[host][0] == error_rule(state.settings, block, "errors_avoid_host"):
        # The render has too many errors now.
        if why_avoided_by_block(state, run.render, block, now):
            text = "AVOIDING HOST !"
        else:
            errors = block.error_hosts[host][0]
            text = f"{errors} errors, but no other render can run the block: it is not avoided"
        where = f'afanasy: jobs: {block.job.spec.name}: Block["{block.spec.name}"]'
        state.log_job(block.job, f"{where}: {host} - {text}")
        state.log(task, f'render "{host}": {text}')
    retries = error_rule(state.settings, block, "errors_retries")
    if final or task.errors > retries or block.job.ending:
        finish(state, task, TaskState.ERROR, now)
        return
    state.why(task, "retry", f"error {task.errors}: tried again, {task.errors} of {retries}")
    task.marks |= TaskBit.RER.value
    queue_again(state, task)

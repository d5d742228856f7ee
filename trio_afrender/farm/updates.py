"""What a render tells of its runs, applied once each, however often it comes."""

from __future__ import annotations

from collections import Counter

import attrs

from trio_afrender.farm.model import Block, FarmStopKind, RenderState, Run, Task, TaskState
from trio_afrender.farm.state import AttemptOutput, FarmState, FileData
from trio_afrender.farm.transitions import finish, put_back, resume_lost_run
from trio_afrender.protocol.messages import (
    AskedOutput,
    FilesEntry,
    ListenedEntry,
    LogEntry,
    RunRef,
    TaskStatus,
    TaskUpdate,
    Update,
)
from trio_afrender.text import clean_name

__all__ = ("apply_update",)

_MAX_FILE = 100_000
_MAX_TEXT = 2000
"""Characters kept of what people see of a task all the time; outputs and logs go to the store."""
_MAX_WHY = 200
_MAX_FILES = 1000
"""Names kept for a task."""


def apply_update(
    book: FarmState, render: RenderState, update: Update, now: float
) -> tuple[RunRef, ...]:
    """Take everything in; return what must be closed once its texts are stored.

    Log, listened output and files come before the states: they belong to what an outcome ends.
    """
    for log in update.log:
        _apply_log(book, render, log)
    for listened in update.listened:
        _apply_listened(book, render, listened)
    for files in update.files:
        _apply_files(book, render, files)
    for asked in update.outputs:
        _apply_output(book, render, asked)
    if update.resources is not None:
        render.resources = update.resources
        book.free.add(render.name)
        book.effects.changed = True
    if update.state is not None and update.state != render.state:
        render.state = update.state
        book.free.add(render.name)
        book.effects.changed = True
    return tuple(_ref(u) for u in update.tasks if _apply_task(book, render, u, now))


def _ref(update: TaskUpdate) -> RunRef:
    return RunRef.of(update)


def _known(book: FarmState, render: RenderState, run_id: str) -> Run | None:
    """A run of this render; others must not speak for it."""
    run = book.runs.get(run_id)
    return run if run is not None and run.render is render else None


def _apply_log(book: FarmState, render: RenderState, entry: LogEntry) -> None:
    run = _known(book, render, entry.run)
    if run is None or entry.n <= run.log_n:
        return
    run.log_n = entry.n
    book.write_log(run.task, entry.text)


def _apply_listened(book: FarmState, render: RenderState, entry: ListenedEntry) -> None:
    run = _known(book, render, entry.run)
    if run is None or entry.n <= run.listened_n:
        return
    run.listened_n = entry.n
    book.effects.heard.append((run.key, entry.text))


def _apply_output(book: FarmState, render: RenderState, entry: AskedOutput) -> None:
    run = _known(book, render, entry.run)
    if run is not None:
        run.task.asked = False
        book.effects.answers.append((run.id, entry.output))


def _apply_files(book: FarmState, render: RenderState, entry: FilesEntry) -> None:
    run = _known(book, render, entry.run)
    if run is None or entry.n <= run.files_n:
        return
    run.files_n = entry.n
    task = run.task
    for file in entry.files:
        name = clean_name(file.name)
        if not name or len(file.data) > _MAX_FILE:
            book.why(task, "refused", f"file {file.name[:200]!r}: {_file_problem(name)}")
        elif name in task.files or len(task.files) < _MAX_FILES:
            task.files[name] = None
            book.effects.writes.append(FileData(task.key, name, file.data))
            book.touch(task)


def _file_problem(name: str) -> str:
    return f"larger than {_MAX_FILE} bytes" if name else "not a file name"


def _apply_task(book: FarmState, render: RenderState, update: TaskUpdate, now: float) -> bool:
    """Take one state in; True when the render may, or must, forget the run."""
    run = _known(book, render, update.run)
    if run is None or run.over or run.key != update.key:
        return True
    if run.lost and not resume_lost_run(book, run, now):
        return True
    _take_progress(book, run, update, now)
    if not update.status.terminal:
        return False
    _end(book, run, update, now)
    return True


def _take_progress(book: FarmState, run: Run, update: TaskUpdate, now: float) -> None:
    task = run.task
    task.status = int(update.status)
    if update.progress_changed:
        run.progressed = now
    if update.status not in (TaskStatus.NoUpdate, TaskStatus.Started):
        task.percent = update.percent
        task.frame = update.frame
        task.percentframe = update.percentframe
    task.activity = update.activity[:_MAX_TEXT] or task.activity
    task.report = update.report[:_MAX_TEXT] or task.report
    task.resources = update.resources[:_MAX_TEXT] or task.resources
    task.usage = update.usage or task.usage
    book.touch(task)


def _end(book: FarmState, run: Run, update: TaskUpdate, now: float) -> None:
    task, render = run.task, run.render
    book.detach(run)
    run.over = True
    task.exit_code = update.exit_code
    if update.exit_code is None and update.exit_signal is not None:
        task.exit_code = -update.exit_signal
    task.started = task.started if update.started is None else update.started
    task.finished = book.wall() if update.finished is None else update.finished
    if update.output:
        book.effects.writes.append(AttemptOutput(task.key, run.attempt, update.output))
    why = tuple(attrs.evolve(step, text=step.text[:_MAX_TEXT]) for step in update.why[-_MAX_WHY:])
    book.add_why(task, why)
    if run.log_n < 0:
        # A render that sends log texts puts its chain at their end.
        book.log_why(task, why)
    if update.leftovers:
        book.why(task, "leftover", f"still alive there: {', '.join(map(str, update.leftovers))}")
    book.log(task, f"{update.status.name} ({int(update.status)}) from {render.name!r}")
    book.write_log(task, "")
    if not update.status.given_back:
        render.given_back = 0
    _judge(book, run, update, now)


def _judge(book: FarmState, run: Run, update: TaskUpdate, now: float) -> None:
    """Which state the outcome gives the task."""
    task, stop, status = run.task, run.stop, update.status
    if status is TaskStatus.Skip:
        finish(book, task, TaskState.SKIPPED, now)
    elif status.success:
        _succeed(book, run, now)
    elif stop is not None and stop.kind is FarmStopKind.ASKED:
        finish(book, task, TaskState.KILLED, now)
    elif status.given_back and stop is None:
        _pause(book, run.render, now)
        put_back(book, run, now)
    else:
        _fail(book, run, now, final=status is TaskStatus.FinishedParserFatalError)


def _succeed(book: FarmState, run: Run, now: float) -> None:
    task = run.task
    least = task.block.spec.task_min_run_time
    took = (task.finished or 0.0) - (task.started or 0.0)
    if least and took < least and task.status != TaskStatus.FinishedParserSuccess:
        book.why(task, "rule", f"done after {took:.1f} s, task_min_run_time is {least} s")
        task.status = int(TaskStatus.FinishedError)
        _fail(book, run, now, final=False)
        return
    task.percent = 100
    finish(book, task, TaskState.DONE, now)


def _fail(book: FarmState, run: Run, now: float, *, final: bool) -> None:
    """Count an error; the task is tried again while it may."""
    task, block = run.task, run.task.block
    task.errors += 1
    _blame(task, block, run.render, now)
    retries = block.spec.errors_retries
    if retries < 0:
        retries = book.settings.errors_retries
    if final or task.errors > retries or block.job.ending:
        finish(book, task, TaskState.ERROR, now)
        return
    book.why(task, "retry", f"error {task.errors}: tried again, {task.errors} of {retries}")
    book.set_state(task, TaskState.READY)


def _blame(task: Task, block: Block, render: RenderState, now: float) -> None:
    count, last = block.error_hosts.get(render.name, (0, now))
    forgive = block.spec.errors_forgive_time
    if 0 < forgive <= now - last:
        count = 0
    block.error_hosts[render.name] = (count + 1, now)
    if task.error_hosts is None:
        task.error_hosts = Counter()
    task.error_hosts[render.name] += 1


def _pause(book: FarmState, render: RenderState, now: float) -> None:
    """Hand nothing to a render that gives tasks back, longer each time: else they would circle."""
    settings = book.settings
    wait = min(settings.pause_limit, settings.pause * 2 ** min(render.given_back, 30))
    render.given_back += 1
    render.paused_until = now + wait
    book.remind(render.paused_until)

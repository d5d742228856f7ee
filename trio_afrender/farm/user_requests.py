"""Requests of users: stop, restart, skip, suspend, drain, listen, ask for output, instruct, ...

Requests that are for several tasks of a job at once are made inside of `changing_tasks`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from trio_afrender.farm.model import FarmStopKind, Job, Run, Stop, Task, TaskState
from trio_afrender.farm.settings import FarmSettings
from trio_afrender.farm.state import FarmState
from trio_afrender.farm.task_bits import TaskBit
from trio_afrender.farm.transitions import (
    end_unstarted,
    finish,
    forget,
    refresh,
    release_held,
    reopen,
    requeue,
    settle,
)

__all__ = (
    "ask_output",
    "change_settings",
    "changing_tasks",
    "continue_task",
    "count_as_done",
    "delete_job",
    "end_job",
    "hold_back",
    "instruct",
    "listen",
    "pause_job",
    "restart_task",
    "return_task",
    "stop_for_limit",
    "stop_task",
    "suspend_task",
    "tick_jobs",
    "unlisten",
)

_MAX_REASON = 1000
"""Characters of a user's reason."""
_SENT_SETTINGS = (
    "heartbeat_sec",
    "resources_update_period",
    "zombie_time",
    "exit_no_task_time",
)
"""Settings that renders are sent."""


def stop_task(state: FarmState, task: Task, reason: str, now: float) -> None:
    """Stop a task for good. One that is over stays as it is.

    A success that the render reports before it receives the stop counts as a success.
    """
    if task.run is not None:
        _stop_run(state, task.run, Stop(FarmStopKind.ASKED, reason[:_MAX_REASON]), now)
    elif not task.state.over:
        state.why(task, "asked", f"not started: {reason}")
        finish(state, task, TaskState.KILLED, now)


def suspend_task(state: FarmState, task: Task, reason: str) -> bool:
    """Suspend the running run of a task, or resume it with reason ''; False if none runs."""
    run = task.run
    if run is None:
        return False
    if bool(reason) != bool(run.suspended):
        run.suspended = reason[:_MAX_REASON]
        run.resumed = not reason
        box = run.render.outbox
        wanted, opposite = (box.suspends, box.resumes) if reason else (box.resumes, box.suspends)
        # A message has no order between the two, so the later request replaces the earlier one.
        opposite.pop(run.id, None)
        wanted[run.id] = run.ref(run.suspended)
        state.wake(run.render)
        state.touch(task)
    return True


@contextmanager
def changing_tasks(state: FarmState, job: Job, now: float) -> Iterator[None]:
    """In it, tasks of a job get other states; at its end, what follows from them is made right."""
    reopen(state, job)
    yield
    # A run that was never sent ends at once, and the job may have ended with it.
    reopen(state, job)
    refresh(state, job, now)
    # What the job waits for may have come while it was over.
    release_held(state, now)


# Inside of `changing_tasks`


def restart_task(state: FarmState, task: Task, reason: str, now: float) -> None:
    """Queue a task again, whatever its state. One that runs is stopped, and keeps its errors.

    A job that was to start no more tasks does so again.
    """
    task.block.job.ending = ""
    if task.run is not None:
        task.marks &= ~TaskBit.SUS.value
        _stop_run(state, task.run, Stop(FarmStopKind.RESTART, reason), now)
        return
    task.errors = 0
    task.marks &= TaskBit.TRY.value
    state.why(task, "asked", f"restarted: {reason}")
    state.set_state(task, TaskState.WAITING)


def return_task(state: FarmState, task: Task, reason: str, now: float) -> bool:
    """Take a running task from its render and queue it, without an error; False if none runs."""
    if task.run is None:
        return False
    _stop_run(state, task.run, Stop(FarmStopKind.RESTART, reason), now)
    return True


def count_as_done(state: FarmState, task: Task, reason: str, now: float, *, skip: bool) -> None:
    """Count a task as done or, with `skip`, as skipped. One that runs is stopped first."""
    kind = FarmStopKind.SKIP if skip else FarmStopKind.DONE
    if task.run is not None:
        _stop_run(state, task.run, Stop(kind, reason), now)
        return
    task.errors = 0
    task.marks &= TaskBit.TRY.value
    state.why(task, "asked", f"{'skipped' if skip else 'counted as done'}: {reason}")
    state.set_state(task, TaskState.SKIPPED if skip else TaskState.DONE)


def hold_back(state: FarmState, task: Task, reason: str, now: float) -> None:
    """Start a task no more until `continue_task`. One that runs is stopped and queued again.

    `suspend_task` keeps the run and its processes instead.
    """
    task.marks |= TaskBit.SUS.value
    # A run that is being stopped already is not stopped again, which would note the task.
    state.touch(task)
    if task.run is not None:
        _stop_run(state, task.run, Stop(FarmStopKind.RESTART, reason), now)
        return
    state.why(task, "asked", f"suspended: {reason}")
    state.set_state(task, TaskState.WAITING)


def continue_task(state: FarmState, task: Task, reason: str) -> None:
    """Undo `hold_back`."""
    task.marks &= ~TaskBit.SUS.value
    state.why(task, "asked", f"continued: {reason}")


def pause_job(state: FarmState, job: Job, *, on: bool) -> None:
    """Start no more tasks of a job, or do so again. What runs keeps running."""
    job.paused = on
    state.all_freed = True
    state.mark_job(job)
    state.changes.note_job(job.id, "change")


def delete_job(state: FarmState, job: Job, reason: str, now: float) -> None:
    """Stop a job and drop it, now or as soon as no render runs a task of it."""
    if job.over:
        forget(state, job, now)
    elif not job.deleting:
        job.deleting = True
        state.mark_job(job)
        state.changes.note_job(job.id, "change")
        end_job(state, job, reason, now, stop=True)


def tick_jobs(state: FarmState, now: float) -> None:
    """Apply what is due: jobs that waited for their time, and jobs whose life is over."""
    for job in list(state.jobs.values()):
        if state.life_over(job, now):
            delete_job(state, job, "its time_life is over", now)
    if state.throttled:
        state.throttled = False
        state.all_freed = True
    release_held(state, now)


def stop_for_limit(state: FarmState, run: Run, reason: str, now: float) -> None:
    """Stop a run that broke a limit of its block. Counts as an error of its task."""
    _stop_run(state, run, Stop(FarmStopKind.LIMIT, reason), now)


def _stop_run(state: FarmState, run: Run, stop: Stop, now: float) -> None:
    # The last request of a user counts, and no limit replaces one. A task that is stopped for good
    # with its job stays so.
    old = run.stop
    if old is not None and (
        stop.kind in (FarmStopKind.LIMIT, old.kind)
        or (old.kind is FarmStopKind.ASKED and run.task.block.job.ending)
    ):
        return
    run.stop = stop
    task, render = run.task, run.render
    state.touch(task)
    event = "rule" if stop.kind is FarmStopKind.LIMIT else "asked"
    state.why(task, event, f"stop: {stop.reason}")
    if not run.sent:
        # No render has it yet: it ends here. `requeue` kills the task of a user's stop.
        requeue(state, run, event, f'never reached render "{render.name}"', now)
        return
    render.outbox.stops[run.id] = run.ref(stop.reason)
    state.wake(render)


def end_job(state: FarmState, job: Job, reason: str, now: float, *, stop: bool) -> None:
    """Start no more tasks of a job; with `stop`, stop the running ones too."""
    if job.over:
        return
    job.ending = job.ending or reason
    state.mark_job(job)
    end_unstarted(state, job, "asked", reason)
    if stop:
        for block in job.blocks:
            for task in block.tasks:
                if task.run is not None:
                    stop_task(state, task, reason, now)
    settle(state, job, now)


def listen(state: FarmState, task: Task) -> bool:
    """Count one more listener of a task; False when the task is over.

    While there is one, its render sends new output, that of later attempts too.
    """
    if task.state.over:
        return False
    task.listeners += 1
    run = task.run
    # Further listeners get the same pieces of output.
    if task.listeners == 1 and run is not None:
        box = run.render.outbox
        box.listens_rem.pop(run.id, None)
        box.listens_add[run.id] = run.ref()
        state.wake(run.render)
    return True


def unlisten(state: FarmState, task: Task) -> None:
    """Undo one `listen`."""
    task.listeners -= 1
    run = task.run
    if task.listeners == 0 and run is not None:
        box = run.render.outbox
        box.listens_add.pop(run.id, None)
        box.listens_rem[run.id] = run.ref()
        state.wake(run.render)


def ask_output(state: FarmState, task: Task) -> str | None:
    """Request a running task's output so far. Return the run that will answer, None if none runs."""
    run = task.run
    if run is None:
        return None
    task.asked = True
    run.render.outbox.outputs[run.id] = run.ref()
    state.wake(run.render)
    return run.id


def instruct(state: FarmState, name: str, instruction: str, command: str) -> None:
    """Send a render an instruction, such as ``exit``. A newer one replaces one that waits.

    Raises KeyError for a render that is not online.
    """
    render = state.renders.get(name)
    if render is None or not render.online:
        raise KeyError(f'no render "{name}" is online')
    render.outbox.instruction = (instruction, command)
    state.wake(render)


def change_settings(state: FarmState, settings: FarmSettings) -> None:
    """Use other settings from now on, and send renders those that concern them."""
    old, state.settings = state.settings, settings
    changed = {
        name: getattr(settings, name)
        for name in _SENT_SETTINGS
        if getattr(settings, name) != getattr(old, name)
    }
    # With a shorter `zombie_time` a render may be due before the next tick.
    state.check_by(0.0)
    for render in state.renders.values():
        if changed and render.online:
            render.outbox.settings.update(changed)
            state.wake(render)

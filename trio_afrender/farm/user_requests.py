"""Requests of users: stop, suspend, drain, listen, ask for output, instruct, change settings."""

from __future__ import annotations

from trio_afrender.farm.model import FarmStopKind, Job, Run, Stop, Task, TaskState
from trio_afrender.farm.settings import FarmSettings
from trio_afrender.farm.state import FarmState
from trio_afrender.farm.transitions import end_unstarted, finish, requeue, settle

__all__ = (
    "ask_output",
    "change_settings",
    "end_job",
    "instruct",
    "listen",
    "stop_for_limit",
    "stop_task",
    "suspend_task",
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
        box = run.render.outbox
        wanted, opposite = (box.suspends, box.resumes) if reason else (box.resumes, box.suspends)
        # A message has no order between the two, so the later request replaces the earlier one.
        opposite.pop(run.id, None)
        wanted[run.id] = run.ref(run.suspended)
        state.wake(run.render)
    return True


def stop_for_limit(state: FarmState, run: Run, reason: str, now: float) -> None:
    """Stop a run that broke a limit of its block. Counts as an error of its task."""
    _stop_run(state, run, Stop(FarmStopKind.LIMIT, reason), now)


def _stop_run(state: FarmState, run: Run, stop: Stop, now: float) -> None:
    # A user's stop replaces one for a limit, and nothing replaces a user's stop.
    if run.stop is not None and (
        run.stop.kind is FarmStopKind.ASKED or stop.kind is FarmStopKind.LIMIT
    ):
        return
    run.stop = stop
    task, render = run.task, run.render
    event = "asked" if stop.kind is FarmStopKind.ASKED else "rule"
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

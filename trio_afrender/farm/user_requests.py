"""What people ask of a farm: stop, drain, listen, see output, instruct."""

from __future__ import annotations

from trio_afrender.farm.model import FarmStopKind, Job, RenderState, Run, Stop, Task, TaskState
from trio_afrender.farm.state import FarmState
from trio_afrender.farm.transitions import end_unstarted, finish, requeue, settle

__all__ = (
    "ask_output",
    "end_job",
    "instruct",
    "listen",
    "stop_for_limit",
    "stop_task",
    "suspend_task",
    "unlisten",
)

_MAX_REASON = 1000


def stop_task(book: FarmState, task: Task, reason: str, now: float) -> None:
    """Stop a task for good. One that is over stays as it is; a success that crosses us counts."""
    if task.run is not None:
        _stop_run(book, task.run, Stop(FarmStopKind.ASKED, reason[:_MAX_REASON]), now)
    elif not task.state.over:
        book.why(task, "asked", f"not started: {reason}")
        finish(book, task, TaskState.KILLED, now)


def suspend_task(book: FarmState, task: Task, reason: str) -> bool:
    """Let the running run of a task stand still, or go on with reason ''; False if none runs."""
    run = task.run
    if run is None:
        return False
    if bool(reason) != bool(run.suspended):
        run.suspended = reason[:_MAX_REASON]
        box = run.render.outbox
        ask, opposite = (box.suspends, box.resumes) if reason else (box.resumes, box.suspends)
        opposite.pop(run.id, None)
        ask[run.id] = run.ref(run.suspended)
        book.wake(run.render)
    return True


def stop_for_limit(book: FarmState, run: Run, reason: str, now: float) -> None:
    """Stop a run that broke a limit of its block: counts as an error."""
    _stop_run(book, run, Stop(FarmStopKind.LIMIT, reason), now)


def _stop_run(book: FarmState, run: Run, stop: Stop, now: float) -> None:
    if run.stop is not None and (
        run.stop.kind is FarmStopKind.ASKED or stop.kind is FarmStopKind.LIMIT
    ):
        return
    run.stop = stop
    task, render = run.task, run.render
    event = "asked" if stop.kind is FarmStopKind.ASKED else "rule"
    book.why(task, event, f"stop: {stop.reason}")
    if not run.sent:
        requeue(book, run, event, f'never reached render "{render.name}"', now)
        return
    render.outbox.stops[run.id] = run.ref(stop.reason)
    book.wake(render)


def end_job(book: FarmState, job: Job, reason: str, now: float, *, stop: bool) -> None:
    """Start no more tasks of a job; with `stop` the running ones are stopped too."""
    if job.over:
        return
    job.ending = job.ending or reason
    end_unstarted(book, job, "asked", reason)
    if stop:
        for block in job.blocks:
            for task in block.tasks:
                if task.run is not None:
                    stop_task(book, task, reason, now)
    settle(book, job, now)


def listen(book: FarmState, task: Task) -> None:
    """Have new output of a task sent, of later attempts too."""
    task.listeners += 1
    run = task.run
    if task.listeners == 1 and run is not None:
        box = run.render.outbox
        box.listens_rem.pop(run.id, None)
        box.listens_add[run.id] = run.ref()
        book.wake(run.render)


def unlisten(book: FarmState, task: Task) -> None:
    """Take one `listen` back."""
    task.listeners -= 1
    run = task.run
    if task.listeners == 0 and run is not None:
        box = run.render.outbox
        box.listens_add.pop(run.id, None)
        box.listens_rem[run.id] = run.ref()
        book.wake(run.render)


def ask_output(book: FarmState, task: Task) -> str | None:
    """Ask for a running task's output so far; the run that will answer, None if none runs."""
    run = task.run
    if run is None:
        return None
    task.asked = True
    run.render.outbox.outputs[run.id] = run.ref()
    book.wake(run.render)
    return run.id


def instruct(book: FarmState, render: RenderState, instruction: str, command: str) -> None:
    """Have a render do something of its own, as ``exit``. A newer one replaces an older one."""
    render.outbox.instruction = (instruction, command)
    book.wake(render)

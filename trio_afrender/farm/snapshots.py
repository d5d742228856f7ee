"""Makes views of records. A view is kept until its record changes, so a quiet task costs nothing."""

from __future__ import annotations

from trio_afrender.farm.model import Job, RenderState
from trio_afrender.farm.render_states import RenderBit
from trio_afrender.jobs.views import JobView, RenderView, TaskView, Texts

__all__ = ("view_job", "view_render")

_NIMBY = {RenderBit.NbY: "nimby", RenderBit.NBY: "NIMBY"}


def view_job(job: Job, texts: Texts) -> JobView:
    """Make a snapshot of a job. Makes new views only of the tasks that have changed."""
    if job.view is None:
        tasks = (task for block in job.blocks for task in block.tasks)
        views = []
        for task in tasks:
            if task.view is None:
                spec, key, last = task.block.spec, task.key, task.last_run
                task.view = TaskView(
                    **key._asdict(),
                    run=last.id if last else "",
                    name=spec.task_name(key.task),
                    block_name=spec.name,
                    service=spec.service,
                    render=last.render.name if last else "",
                    state=task.state.value,
                    status=task.status,
                    exit_code=task.exit_code,
                    started=task.started,
                    finished=task.finished,
                    attempts=task.attempts,
                    percent=task.percent,
                    frame=task.frame,
                    frames=spec.frame_span(key.task),
                    percentframe=task.percentframe,
                    activity=task.activity,
                    report=task.report,
                    resources=task.resources,
                    usage=task.usage,
                    files=tuple(texts.path(key, name) for name in task.files),
                    why=tuple(task.why),
                    attempt=last.attempt if last else 0,
                    texts=texts,
                )
            views.append(task.view)
        job.view = JobView(
            id=job.id,
            name=job.spec.name,
            user_name=job.spec.user_name,
            state=job.state,
            started=job.started,
            finished=job.finished,
            counts={state.value: count for state, count in job.counts.items() if count},
            tasks=tuple(views),
        )
    return job.view


def view_render(render: RenderState) -> RenderView:
    """Make a snapshot of a render."""
    register, effective = render.register, render.effective
    state = "offline"
    if render.online:
        state = "online"
    elif render.lost_at is not None:
        state = "reconnecting"
    return RenderView(
        id=render.id,
        name=render.name,
        state=state,
        nimby=_NIMBY.get(render.bits & (RenderBit.NbY | RenderBit.NBY), ""),
        host_name=register.host_name,
        user_name=effective.user_name,
        engine=register.engine,
        os=register.os,
        peer=render.peer,
        capacity=effective.capacity,
        capacity_used=render.capacity_used,
        max_tasks=effective.max_tasks,
        services=effective.services,
        running=tuple(run.key for run in render.running.values()),
        resources=render.resources,
    )

"""The outcome of a job as plain JSON data, for ``--report FILE`` and for programs."""

from __future__ import annotations

import attrs

from trio_afrender.jobs.views import JobView, TaskView
from trio_afrender.protocol.messages import Reason

__all__ = ("make_report",)


def make_report(job: JobView) -> dict[str, object]:
    """Make the report of a job, texts included. Blocking: reads the texts from the store.

    Times are Unix time or None. ``status`` is Afanasy's number, None for a task that never ran; its
    ``state`` is ``killed``, its ``outcome`` ``not run``. A negative ``exit_code`` is the number of a signal.
    ``frame`` is the number of the frame that was rendered last, ``frames_done`` how many the parser has
    seen finished. ``why`` has the reasons of all attempts, and before them the cause of the last failure.
    """
    return {
        "job": job.name,
        "state": job.state,
        "started": job.started,
        "finished": job.finished,
        "tasks": [
            {
                "job": task.job,
                "block": task.block,
                "task": task.task,
                "number": task.number,
                "run": task.run,
                "name": task.name,
                "block_name": task.block_name,
                "render": task.render,
                "state": task.state,
                "outcome": task.outcome,
                "status": task.status,
                "exit_code": task.exit_code,
                "started": task.started,
                "finished": task.finished,
                "attempts": task.attempts,
                "percent": task.percent,
                "frame": task.current_frame,
                "frame_first": task.frames[0] if task.frames is not None else None,
                "frame_last": task.frames[1] if task.frames is not None else None,
                "frames_done": task.frame,
                "activity": task.activity,
                "report": task.report,
                "resources": task.resources,
                "usage": attrs.asdict(task.usage) if task.usage is not None else None,
                "log": task.log,
                "output": task.output,
                "files": [str(path) for path in task.files],
                "why": [
                    {
                        "time": step.time,
                        "event": step.event,
                        "text": step.text,
                        "pids": list(step.pids),
                    }
                    for step in _cause_first(task)
                ],
            }
            for task in job.tasks
        ],
    }


def _cause_first(task: TaskView) -> tuple[Reason, ...]:
    causes = [step for step in task.attempt_why if step.event == "cause"][:1]
    return (*causes, *(step for step in task.why if step not in causes))

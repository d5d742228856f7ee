"""What the waiting tasks of a job wait for, as JSON objects. An addition to Afanasy's requests."""

from __future__ import annotations

from trio_afrender.farm.json_interface.answers import Answer
from trio_afrender.farm.model import Job
from trio_afrender.farm.obstacles import Obstacle
from trio_afrender.farm.state import FarmState
from trio_afrender.farm.why_waiting import explain_job

__all__ = ("describe_waits",)


def describe_waits(state: FarmState, job: Job, now: float) -> Answer:
    """The answer to mode ``why``: for each block its ready tasks, and those that wait for others."""
    blocks = []
    for answer in explain_job(state, job, now):
        made: Answer = {
            "block": answer.key.block,
            "block_name": answer.block_name,
            "task": answer.key.task,
            "tasks": answer.tasks,
            "reasons": [each.text for each in answer.obstacles],
            "obstacles": [_describe(each) for each in answer.obstacles],
            "renders": [
                {
                    "render": render.render,
                    "reasons": [each.text for each in render.obstacles],
                    "obstacles": [_describe(each) for each in render.obstacles],
                }
                for render in answer.renders
            ],
        }
        blocks.append(made)
    return {"job_waits": {"id": job.id, "blocks": blocks}}


def _describe(obstacle: Obstacle) -> Answer:
    return {**obstacle._asdict(), "kind": obstacle.kind.value}

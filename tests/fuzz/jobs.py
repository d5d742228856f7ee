"""Job files, and what a farm does with one that was taken."""

from __future__ import annotations

from pathlib import Path

from fuzz.targets import Target
from trio_afrender.errors import JobError
from trio_afrender.farm import FarmSettings
from trio_afrender.farm.state_machine import FarmStateMachine
from trio_afrender.farm.store import MemoryFarmStore
from trio_afrender.jobs.job_file import _loads, parse_job
from trio_afrender.protocol.json_codec import encode
from trio_afrender.protocol.messages import Register

__all__ = ("TARGETS",)

JOBS = Path(__file__).parents[1] / "data" / "jobs"
EXAMPLES = Path(__file__).parents[2] / "examples"
MANY = 2000
"""Tasks above which a job is only read: a large one is right, and slow to make."""


def job(data: bytes) -> None:
    spec = parse_job(_loads(data, Path("job.json")), folder=Path("/jobs"))
    if sum(block.task_count for block in spec.blocks) > MANY:
        return
    state = FarmStateMachine(MemoryFarmStore(), settings=FarmSettings(), wall=lambda: 1e9)
    register = Register(name="n", capacity=10**6, max_tasks=3)
    state.register(register, 1, "peer", 0.0)
    state.submit(spec, 0.0)
    state.why_waiting(2, 0.0)
    state.view(2)
    while events := state.take_events("n", 1):
        encode(events)


TARGETS = {
    "job files": Target(
        run=job,
        corpus=tuple(
            path.read_bytes()
            for folder in (JOBS, EXAMPLES)
            for path in sorted(folder.glob("*.json"))
        ),
        allowed=(JobError,),
        share=0.5,
    )
}

"""Job files, and a farm's handling of those that are valid."""

from __future__ import annotations

from pathlib import Path

from fuzz.targets import Target
from trio_afrender.errors import JobError
from trio_afrender.farm import FarmSettings, renders, scheduler, transitions, why_waiting
from trio_afrender.farm.snapshots import view_job
from trio_afrender.farm.state import FarmState
from trio_afrender.farm.store import MemoryFarmStore
from trio_afrender.jobs.job_file import _loads, examine_job, parse_job
from trio_afrender.protocol.json_codec import encode
from trio_afrender.protocol.messages import Register

__all__ = ("TARGETS",)

JOBS = Path(__file__).parents[1] / "data" / "jobs"
EXAMPLES = Path(__file__).parents[2] / "examples"
MAX_TASKS = 2000
"""Jobs with more tasks are only parsed: they are valid, but slow to run."""


def job(data: bytes) -> None:
    content = _loads(data, Path("job.json"))
    examined, problems = examine_job(content, folder=Path("/jobs"))
    assert (examined is None) == bool(problems)
    spec = parse_job(content, folder=Path("/jobs"))
    # What a server's clients may send is wrong in a file for its spelling alone.
    assert all("unknown key" in problem.problem for problem in problems), problems
    if sum(block.task_count for block in spec.blocks) > MAX_TASKS:
        return
    store = MemoryFarmStore()
    state = FarmState(texts=store, settings=FarmSettings(), wall=lambda: 1e9)
    register = Register(name="n", capacity=10**6, max_tasks=3)
    renders.register(state, register, 1, "peer", 0.0)
    submitted = transitions.submit(state, spec, 0.0)
    scheduler.assign(state, 0.0)
    why_waiting.why_waiting(state, submitted, 0.0)
    view_job(submitted, store)
    while events := renders.take_events(state, state.renders["n"], 1):
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

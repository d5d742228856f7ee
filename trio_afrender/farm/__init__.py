"""The embedded farm: jobs, tasks and renders of one machine, and a server for tests.

async with open_farm(folder) as farm:
    job = farm.submit(load_job(path))
    nursery.start_soon(farm.serve_link, link)   # for each render that connects
    view = await farm.wait(job)
"""

from __future__ import annotations

from trio_afrender.farm.farm import Farm, FarmSettings, open_farm
from trio_afrender.jobs.job_file import load_job, parse_job
from trio_afrender.jobs.job_spec import BlockSpec, HostNeeds, JobSpec, TaskSpec
from trio_afrender.jobs.report import make_report
from trio_afrender.jobs.views import JobView, RenderView, TaskView

__all__ = (
    "BlockSpec",
    "Farm",
    "FarmSettings",
    "HostNeeds",
    "JobSpec",
    "JobView",
    "RenderView",
    "TaskSpec",
    "TaskView",
    "load_job",
    "make_report",
    "open_farm",
    "parse_job",
)

"""Figures of a farm for Prometheus: jobs, tasks and renders by their states."""

from __future__ import annotations

from collections import Counter

from trio_afrender.farm.model import TaskState
from trio_afrender.farm.state import FarmState
from trio_afrender.metrics.families import MetricFamily, gauge

__all__ = ("PREFIX", "collect_farm")

PREFIX = "trio_afrender_farm_"


def collect_farm(state: FarmState) -> list[MetricFamily]:
    """Return the present figures of a farm."""
    jobs: Counter[str] = Counter({"running": 0, "done": 0, "error": 0, "stopped": 0})
    tasks: Counter[str] = Counter({each.name.lower(): 0 for each in TaskState})
    for job in state.jobs.values():
        jobs[job.state] += 1
        tasks.update({each.name.lower(): number for each, number in job.counts.items()})
    renders = Counter({"online": 0, "offline": 0})
    for render in state.renders.values():
        renders["offline" if render.session is None else "online"] += 1
    return [
        gauge(f"{PREFIX}jobs", "Jobs, by their state.", jobs, "state"),
        gauge(f"{PREFIX}tasks", "Tasks of all jobs, by their state.", tasks, "state"),
        gauge(f"{PREFIX}renders", "Renders, by whether they are connected.", renders, "state"),
        gauge(f"{PREFIX}runs", "Runs whose records are kept.", len(state.runs)),
        gauge(f"{PREFIX}users", "Users that have had jobs.", len(state.users)),
    ]

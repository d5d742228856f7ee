"""``trio_afrender pause``, ``start``, ``delete`` and so on: one change of nodes of a farm each."""

from __future__ import annotations

from argparse import Namespace

from trio_afrender.afserver.apply_changes import ChangeReport
from trio_afrender.afserver.node_changes import (
    RESTARTS,
    TASK_CHANGES,
    VERBS,
    make_restart,
    make_task_restart,
)
from trio_afrender.afserver.node_selection import select_nodes
from trio_afrender.afserver.remote_farm import RemoteFarm
from trio_afrender.cli.steering import change_nodes, change_tasks, run_change
from trio_afrender.errors import ConfigError

__all__ = ("run",)


def run(options: Namespace) -> int:
    """Do the change; return 1 if it did not take somewhere. Raises `AfRenderError`."""
    return run_change(options, _change)


async def _change(farm: RemoteFarm, options: Namespace, report: ChangeReport) -> None:
    verb: str = options.command
    if verb == "skip":
        await change_tasks(farm, options, report, changes=[TASK_CHANGES["skip"]])
    elif verb in ("restart", "retry"):
        await _restart(farm, options, report)
    else:
        if verb == "eject" and options.keep_mine:
            verb = "eject --keep-mine"
        kinds = VERBS[verb]
        kind = next(iter(kinds))
        if options.names[0] in kinds and len(options.names) > 1:
            kind, *options.names = options.names
        await change_nodes(farm, options, report, kind=kind, change=kinds[kind])


async def _restart(farm: RemoteFarm, options: Namespace, report: ChangeReport) -> None:
    """Restart whole jobs by one request each, and blocks and tasks of others."""
    which = next((name for name in RESTARTS if name and getattr(options, name, False)), "")
    jobs = await farm.jobs()
    whole = [word for word in options.names if select_nodes(jobs, [word], "job")[0]]
    parts = [word for word in options.names if word not in whole]
    if parts and which == "pause":
        raise ConfigError(f"--pause is for whole jobs, not for {parts[0]}")
    if whole:
        change = VERBS["retry"]["job"] if options.command == "retry" else make_restart(which)
        options.names = whole
        await change_nodes(farm, options, report, kind="job", change=change)
    if parts:
        task_change = (
            TASK_CHANGES["retry"] if options.command == "retry" else make_task_restart(which)
        )
        options.names = parts
        await change_tasks(farm, options, report, changes=[task_change])

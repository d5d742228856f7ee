"""``trio_afrender set KIND NAME ... key=value ...``: parameters of renders, jobs, blocks, users, pools."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from functools import partial
from typing import Any

from trio_afrender.afserver.apply_changes import ChangeReport, list_nodes
from trio_afrender.afserver.editable_parameters import parse_settings, settings_of
from trio_afrender.afserver.node_changes import TASK_CHANGES
from trio_afrender.afserver.node_selection import select_nodes, select_tasks
from trio_afrender.afserver.remote_farm import RemoteFarm
from trio_afrender.afserver.set_parameters import check_block_masks, set_blocks, set_nodes
from trio_afrender.cli.steering import change_tasks, run_change
from trio_afrender.errors import ConfigError

__all__ = ("run",)


def run(options: Namespace) -> int:
    """Set parameters; return 1 if something did not take. Raises `AfRenderError`."""
    at = next((i for i, word in enumerate(options.names) if "=" in word), len(options.names))
    options.names, words = options.names[:at], options.names[at:]
    if not options.names or not words:
        raise ConfigError(
            f"expected names and key=value, as in: trio_afrender set {options.kind} NAME"
            f" {next(iter(settings_of(options.kind)))}=VALUE"
        )
    params = parse_settings(options.kind, words)
    if options.kind == "task":
        changes = [TASK_CHANGES[f"{key}={str(on).lower()}"] for key, on in params.items()]
        return run_change(options, partial(change_tasks, changes=changes))
    return run_change(options, partial(_set_parameters, params=params))


async def _set_parameters(
    farm: RemoteFarm, options: Namespace, report: ChangeReport, *, params: Mapping[str, Any]
) -> None:
    kind: str = options.kind
    if kind != "block":
        nodes, report.problems = select_nodes(await list_nodes(farm, kind), options.names, kind)
        await set_nodes(farm, kind, nodes, params, report)
        return
    selected, report.problems = select_tasks(await farm.jobs(full=True), options.names)
    parts = [each.name for each in selected if each.tasks is not None]
    if parts:
        raise ConfigError(f"{parts[0]} is a task: parameters are those of its block, JOB.BLOCK")
    for each in selected:
        check_block_masks(each, params)
    for job in {each.job.id: each.job for each in selected}.values():
        mine = [each for each in selected if each.job.id == job.id]
        await set_blocks(farm, job, mine, params, report)

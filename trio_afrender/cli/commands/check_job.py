"""``trio_afrender check job``: all errors of a job file, or what it would run, without running it."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from typing import Any

from trio_afrender.cli.impossible_blocks import describe_renders
from trio_afrender.cli.job_checks import ExaminedJob, examine_file, list_warnings
from trio_afrender.cli.job_preview import (
    MAX_PREVIEWED,
    JobPlan,
    make_plan,
    preview_tasks,
    write_plan,
)
from trio_afrender.cli.terminal import clean, write_line
from trio_afrender.config import Config
from trio_afrender.errors import ConfigError, JobError
from trio_afrender.jobs.job_schema import make_job_schema
from trio_afrender.jobs.job_spec import JobSpec
from trio_afrender.jobs.submission import prefix_commands

__all__ = ("plan_object", "run_job_check")


def run_job_check(options: Namespace, config: Config, prefix: str) -> int:
    """Check a job file; return 0 if it can run, 1 if a part of it cannot, 2 if it has errors.

    `prefix` is put before the commands of blocks. Raises `ConfigError`.
    """
    if options.schema:
        if options.job is not None:
            raise ConfigError("--schema prints the schema of all jobs: give no file")
        sys.stdout.write(json.dumps(make_job_schema(), indent=2) + "\n")
        return 0
    if options.job is None:
        raise ConfigError("give a job file, - for stdin, or --schema")
    try:
        examined = examine_file(options.job, config.plugins)
    except JobError as error:
        if not options.json:
            raise
        examined = ExaminedJob(name=str(options.job), errors=(JobError("", str(error)),))
    if examined.spec is None:
        return _print_errors(examined, as_json=options.json)
    spec = prefix_commands(prefix, examined.spec.unattended()).within(config.capacity)
    warnings = list_warnings(spec, config.plugins)
    plan = make_plan(spec, describe_renders(config, 1), None)
    if options.json:
        found = {"file": examined.name, **plan_object(plan, spec, config), "errors": []}
        found["warnings"] = warnings
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return 0 if found["good"] else 1
    for text in warnings:
        write_line(("warning: ", "yellow"), clean(text))
    return 0 if write_plan(plan, spec, config) else 1


def _print_errors(examined: ExaminedJob, *, as_json: bool) -> int:
    if as_json:
        errors = [{"path": error.path, "problem": error.problem} for error in examined.errors]
        found = {"file": examined.name, "good": False, "errors": errors}
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return 2
    for error in examined.errors:
        write_line(clean(f"{examined.name}: "), (clean(str(error)), "bold red"))
    count = len(examined.errors)
    write_line((f"{count} error{'' if count == 1 else 's'}", "bold"))
    return 2


def plan_object(plan: JobPlan, spec: JobSpec, config: Config) -> dict[str, Any]:
    """Return a plan as JSON data. Calls code of services: blocking."""
    tasks, good = [], not plan.stuck
    for planned in preview_tasks(plan.order[:MAX_PREVIEWED], config):
        task, view = planned.task, planned.view
        good = good and not planned.problems
        first, last, _ = spec.blocks[task.block].frames(task.task)
        shown: dict[str, Any] = {
            "block": task.block,
            "task": task.task,
            "block_name": task.block_name,
            "name": task.name,
            "frame_first": first,
            "frame_last": last,
            "service": task.service,
            "parser": task.parser,
        }
        if view is not None:
            shown |= {
                "command": view.command,
                "folder": view.working_directory if task.working_directory else "",
                "environment": dict(sorted(view.environment.items())),
                "files": list(view.files),
                "skip": view.skip,
            }
        tasks.append({**shown, "problems": list(planned.problems)})
    return {
        "good": good,
        "job": spec.name,
        "tasks": tasks,
        "left_out": len(plan.order) - len(tasks) + plan.more,
        "never": [{"block": block, "reasons": list(texts)} for block, texts in plan.stuck.items()],
    }

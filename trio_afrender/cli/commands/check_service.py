"""``trio_afrender check service``: prints the command and settings that a service makes for a task."""

from __future__ import annotations

import json
import sys
from argparse import Namespace

import attrs

from trio_afrender.cli.terminal import clean, print_line, write_line
from trio_afrender.config import Config
from trio_afrender.devtools.service_preview import TASK_KEYS, ServiceView, make_service, read_tasks
from trio_afrender.text import suggest

__all__ = ("run_service",)


def run_service(options: Namespace, config: Config) -> int:
    """Show each task of the file; return 1 if one has a problem. Raises `AfRenderError`."""
    views = []
    for info in read_tasks(options.task):
        for key in info:
            if key not in TASK_KEYS:
                print_line(f'warning: taskInfo has no key "{clean(key)}"{suggest(key, TASK_KEYS)}')
        named = info.get("service", options.plugin)
        if named != options.plugin:
            block = clean(str(info.get("block_name", "the task")))
            print_line(f"warning: {block} is for the service {clean(str(named))}")
        views.append(
            make_service(
                options.plugin, info, folders=config.plugins, settings=config.plugin_settings()
            )
        )
    if options.json:
        shown = [{**attrs.asdict(view), "good": view.good} for view in views]
        sys.stdout.write(json.dumps(shown, indent=2) + "\n")
    else:
        for view in views:
            _write_service(view)
    return 0 if all(view.good for view in views) else 1


def _write_service(view: ServiceView) -> None:
    write_line((clean(f"{view.service}: {view.task or 'task'}"), "bold"))
    if view.command:
        write_line(f"  command      {clean(view.command)}")
    else:
        write_line("  command      ", ("empty: the task would fail to start", "bold red"))
    rows = [
        ("folder", view.working_directory or "a new folder for the run"),
        *(("environment", f"{name}={value}") for name, value in view.environment.items()),
        *(("file", file) for file in view.files),
        *(("thumbnail", made) for made in view.thumbnails),
        ("parser", view.parser if view.has_parser else "none"),
        *([("grace", f"{view.grace:g} seconds")] if view.grace is not None else []),
        *(("limit", f"{name} {limit:g}") for name, limit in view.limits.items()),
        *(("stuck", f"{name} {rule}") for name, rule in view.stuck.items()),
    ]
    for name, text in rows:
        write_line(f"  {name:<11}  {clean(text)}")
    if view.skip:
        write_line(("  the task is skipped", "yellow"))
    for line in view.log.splitlines():
        write_line(f"  log          {clean(line)}")
    for problem in view.problems:
        write_line((f"  {clean(problem)}", "bold red"))

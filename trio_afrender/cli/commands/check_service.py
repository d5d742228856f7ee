"""``trio_afrender check service``: prints the command and settings that a service makes for a task."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping

import attrs

from trio_afrender.cli.arguments import suggest
from trio_afrender.cli.paint import Paint, writer
from trio_afrender.cli.terminal import clean, print_line
from trio_afrender.config import Config
from trio_afrender.devtools.service_preview import TASK_KEYS, ServiceView, make_service, read_tasks

__all__ = ("run_service",)


def run_service(options: Namespace, config: Config) -> int:
    """Show each task of the file; return 1 if one has a problem. Raises `AfRenderError`."""
    views = []
    for info in read_tasks(options.task):
        _warn_about_keys(info, options.name)
        views.append(
            make_service(
                options.name, info, folders=config.plugins, settings=config.plugin_settings()
            )
        )
    if options.json:
        shown = [{**attrs.asdict(view), "good": view.good} for view in views]
        json.dump(shown, sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        write, paint = writer()
        for view in views:
            write(*_describe(view, paint))
    return 0 if all(view.good for view in views) else 1


def _warn_about_keys(info: Mapping[str, object], name: str) -> None:
    """Warn on stderr of unknown keys of a task, and of a task for another service."""
    for key in info:
        if key not in TASK_KEYS:
            print_line(f'warning: taskInfo has no key "{clean(key)}"{suggest(key, TASK_KEYS)}')
    named = info.get("service", name)
    if named != name:
        block = info.get("block_name", "the task")
        print_line(f"warning: {clean(str(block))} is for the service {clean(str(named))}")


def _describe(view: ServiceView, paint: Paint) -> Iterator[str]:
    yield paint.bold(clean(f"{view.service}: {view.task or 'task'}"))
    command = clean(view.command) or paint.bad("empty: the task would fail to start")
    yield f"  command      {command}"
    yield f"  folder       {clean(view.working_directory) or 'a new folder for the run'}"
    for name, value in view.environment.items():
        yield f"  environment  {clean(f'{name}={value}')}"
    for file in view.files:
        yield f"  file         {clean(file)}"
    for made in view.thumbnails:
        yield f"  thumbnail    {clean(made)}"
    parser = view.parser if view.has_parser else "none"
    yield f"  parser       {clean(parser)}"
    if view.grace is not None:
        yield f"  grace        {view.grace:g} seconds"
    for name, limit in view.limits.items():
        yield f"  limit        {name} {limit:g}"
    for name, rule in view.stuck.items():
        yield f"  stuck        {name} {rule}"
    if view.skip:
        yield paint.warning("  the task is skipped")
    yield from (f"  log          {clean(line)}" for line in view.log.splitlines())
    for problem in view.problems:
        yield paint.bad(f"  {clean(problem)}")

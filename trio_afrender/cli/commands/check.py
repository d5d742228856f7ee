"""``trio_afrender check``: tests a job file, one plugin on given input, or all on small built-in input."""

from __future__ import annotations

import json
import sys
from argparse import Namespace

import attrs

from trio_afrender.cli.load_settings import load_options
from trio_afrender.cli.plugin_folders import check_folders
from trio_afrender.cli.terminal import clean, write_line
from trio_afrender.cli.time_limit import limited
from trio_afrender.config import Config
from trio_afrender.config.load import make_config
from trio_afrender.devtools.plugin_check import PLUGIN_KINDS, Report, check_meter, check_plugins

__all__ = ("run",)


METER_INTERVAL = 0.5
"""Seconds between two updates of a meter, so that it can compute rates."""


def run(options: Namespace) -> int:
    """Check the job, the named plugin, or all plugins; return 0 if there are no problems, else 1.

    Raises `AfRenderError`.
    """
    settings = load_options(options)
    config = make_config(settings)
    check_folders(config.plugins)
    match options.command:
        case "check job":
            from trio_afrender.cli.commands.check_job import run_job_check

            with limited(options.limit, "the services of the job"):
                return run_job_check(options, config, str(settings["af_cmdprefix"]))
        case "check parser":
            from trio_afrender.cli.commands.check_parser import run_parser

            with limited(options.limit, f'parser "{options.plugin}"'):
                return run_parser(options, config)
        case "check service":
            from trio_afrender.cli.commands.check_service import run_service

            with limited(options.limit, f'service "{options.plugin}"'):
                return run_service(options, config)
        case "check meter":
            return _run_meter(options, config)
        case _:
            return _run_all(options, config)


def _run_meter(options: Namespace, config: Config) -> int:
    report = check_meter(
        options.plugin,
        config.plugins,
        limit=config.timing.plugin,
        settings=config.plugin_settings(),
        pause=METER_INTERVAL,
    )
    if options.json:
        sys.stdout.write(json.dumps(_as_json(report), indent=2) + "\n")
    else:
        width = max((len(name) for name in report.values), default=0)
        for name, value in report.values.items():
            text = value if isinstance(value, str) else json.dumps(value)
            write_line(f"{name:<{width}}  {clean(text)}")
        _write_problems(report)
    return 1 if report.problems else 0


def _run_all(options: Namespace, config: Config) -> int:
    reports = check_plugins(config.plugins, limit=config.timing.plugin)
    bad = sum(bool(report.problems) for report in reports)
    if options.json:
        shown = [_as_json(report) for report in reports]
        sys.stdout.write(json.dumps(shown, indent=2) + "\n")
        return 1 if bad else 0
    for report in reports:
        _write_problems(report)
        if options.verbose and not report.problems:
            write_line(f"{report.kind} {report.name}: ", ("good", "green"))
    counts = [(sum(report.kind == kind for report in reports), kind) for kind in PLUGIN_KINDS]
    numbers = ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for count, kind in counts)
    result = (f"{bad} with problems", "bold red") if bad else ("no problems", "green")
    write_line(f"{numbers}: ", result)
    return 1 if bad else 0


def _write_problems(report: Report) -> None:
    if not report.problems:
        return
    write_line((clean(f"{report.kind} {report.name}:"), "bold red"))
    for line in "\n".join(report.problems).splitlines():
        write_line(f"  {clean(line)}")
    if report.printed:
        write_line("  printed by the plugin:")
        for line in report.printed.splitlines():
            write_line(f"    {clean(line)}")


def _as_json(report: Report) -> dict[str, object]:
    good = not report.problems
    return {"kind": report.kind, "name": report.name, "good": good, **attrs.asdict(report)}

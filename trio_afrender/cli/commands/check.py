"""``trio_afrender check``: tests one plugin on given input, or all plugins on small built-in input."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence

from trio_afrender.cli.job_checks import check_folders
from trio_afrender.cli.load_settings import load_options
from trio_afrender.cli.paint import Paint, writer
from trio_afrender.cli.terminal import clean
from trio_afrender.cli.time_limit import limited
from trio_afrender.config import Config
from trio_afrender.config.load import make_config
from trio_afrender.devtools.plugin_check import PLUGIN_KINDS, Report, check_meter, check_plugins

__all__ = ("run",)


METER_INTERVAL = 0.5
"""Seconds between two updates of a meter, so that it can compute rates."""


def run(options: Namespace) -> int:
    """Check the named plugin, or all; return 0 if there are no problems, else 1.

    Raises `AfRenderError`.
    """
    config = make_config(load_options(options))
    check_folders(config.plugins)
    match options.kind:
        case "parser":
            from trio_afrender.cli.commands.check_parser import run_parser

            with limited(options.limit, f'parser "{options.name}"'):
                return run_parser(options, config)
        case "service":
            from trio_afrender.cli.commands.check_service import run_service

            with limited(options.limit, f'service "{options.name}"'):
                return run_service(options, config)
        case "meter":
            return _run_meter(options, config)
        case _:
            return _run_all(options, config)


def _run_meter(options: Namespace, config: Config) -> int:
    report = check_meter(
        options.name,
        config.plugins,
        limit=config.timing.plugin,
        settings=config.plugin_settings(),
        pause=METER_INTERVAL,
    )
    if options.json:
        _dump(_as_json(report))
    else:
        width = max((len(name) for name in report.values), default=0)
        write, paint = writer()
        for name, value in report.values.items():
            write(
                f"{name:<{width}}  {clean(value if isinstance(value, str) else json.dumps(value))}"
            )
        write(*_problems(report, paint))
    return 1 if report.problems else 0


def _run_all(options: Namespace, config: Config) -> int:
    reports = check_plugins(config.plugins, limit=config.timing.plugin)
    if options.json:
        _dump([_as_json(report) for report in reports])
        return _code(reports)
    write, paint = writer()
    for report in reports:
        if report.problems:
            write(*_problems(report, paint))
        elif options.verbose:
            write(f"{report.kind} {report.name}: {paint.good('good')}")
    counts = [(sum(report.kind == kind for report in reports), kind) for kind in PLUGIN_KINDS]
    numbers = ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for count, kind in counts)
    bad = sum(bool(report.problems) for report in reports)
    result = paint.bad(f"{bad} with problems") if bad else paint.good("no problems")
    write(f"{numbers}: {result}")
    return _code(reports)


def _problems(report: Report, paint: Paint) -> Iterator[str]:
    if report.problems:
        yield paint.bad(clean(f"{report.kind} {report.name}:"))
    for problem in report.problems:
        yield from (f"  {clean(line)}" for line in problem.splitlines())
    if report.printed and report.problems:
        yield "  printed by the plugin:"
        yield from (f"    {clean(line)}" for line in report.printed.splitlines())


def _code(reports: Sequence[Report]) -> int:
    return 1 if any(report.problems for report in reports) else 0


def _as_json(report: Report) -> dict[str, object]:
    return {
        "kind": report.kind,
        "name": report.name,
        "good": not report.problems,
        "problems": list(report.problems),
        "values": dict(report.values),
        "printed": report.printed,
    }


def _dump(data: object) -> None:
    json.dump(data, sys.stdout, indent=2)
    sys.stdout.write("\n")

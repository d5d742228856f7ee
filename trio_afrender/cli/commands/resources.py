"""``trio_afrender resources``: prints what a render reports of this host, once or repeatedly."""

from __future__ import annotations

import json
import sys
import time
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import attrs
import trio

from trio_afrender.cli.load_settings import load_options
from trio_afrender.cli.resource_table import make_rows, plot, short_line
from trio_afrender.cli.signals import open_signals
from trio_afrender.cli.terminal import has_rich, write_line
from trio_afrender.config.load import make_config
from trio_afrender.hostinfo.identity import HostFacts, host_facts
from trio_afrender.hostinfo.sampler import Sampler, make_sampler_config
from trio_afrender.protocol.messages import HostResources

__all__ = ("run",)

FIRST_REFRESH = 0.5
"""Seconds between the two measurements before the first output, which rates need."""
BAR = 20
"""Columns of a bar."""
MAX_CURVE = 60
"""Columns of the widest curve, which has one for each measurement."""

Show: TypeAlias = Callable[[HostResources], None]


def run(options: Namespace) -> int:
    """Measure and print to stdout. Raises `ConfigError` for settings that cannot be used."""
    sampler = Sampler(make_sampler_config(make_config(load_options(options))))
    facts = host_facts()
    if options.watch is None:

        def show_once(found: HostResources) -> None:
            if options.json:
                whole = {"host": attrs.asdict(facts), "resources": attrs.asdict(found)}
                sys.stdout.write(json.dumps(whole, indent=2) + "\n")
            else:
                rows = make_rows(found, facts)
                width = max(len(row.name) for row in rows)
                for row in rows:
                    bar = " " * (BAR + 6)
                    if row.percent is not None:
                        full = "#" * round(row.percent * BAR / 100)
                        bar = f"{full:.<{BAR}} {row.percent:>3.0f} %"
                    write_line((row.name.ljust(width), "bold"), f"  {bar}  {row.text}".rstrip())

        trio.run(_measure_twice, sampler, FIRST_REFRESH, show_once)
    elif options.json:

        def show_json(found: HostResources) -> None:
            _write_line(json.dumps({"time": time.time(), **attrs.asdict(found)}))

        trio.run(_watch, sampler, options.watch, show_json)
    elif sys.stdout.isatty() and has_rich():
        with _open_live_table(facts) as show:
            trio.run(_watch, sampler, options.watch, show)
    else:
        trio.run(
            _watch,
            sampler,
            options.watch,
            lambda found: _write_line(short_line(found, time.time())),
        )
    return 0


async def _measure_twice(sampler: Sampler, pause: float, show: Show) -> None:
    """Show the second of two measurements."""
    await sampler.measure()
    await trio.sleep(pause)
    show(await sampler.measure())


async def _watch(sampler: Sampler, period: float, show: Show) -> None:
    """Show a measurement every `period` seconds until a signal, which is the regular end."""
    watching = trio.CancelScope()
    async with open_signals(lambda _count, _name: watching.cancel()):
        with watching:
            await _measure_twice(sampler, min(FIRST_REFRESH, period), show)
            while True:
                await trio.sleep(period)
                show(await sampler.measure())


def _write_line(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@contextmanager
def _open_live_table(facts: HostFacts) -> Iterator[Show]:
    """Yield a function that redraws a table in place, with a small curve for each figure."""
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    console = Console(markup=False, highlight=False, emoji=False)
    history: dict[str, deque[float]] = {}

    def show(found: HostResources) -> None:
        rows = make_rows(found, facts)
        width = max(8, min(MAX_CURVE, console.width // 4))
        table = Table.grid(padding=(0, 1))
        # With minimal widths: rich would shrink these columns first, in favour of the text.
        table.add_column(min_width=max(len(row.name) for row in rows), no_wrap=True)
        table.add_column(min_width=width + 6, no_wrap=True)
        table.add_column(no_wrap=True, overflow="ellipsis")
        for row in rows:
            drawn = Text("")
            if row.percent is not None:
                values = history.setdefault(row.name, deque(maxlen=MAX_CURVE))
                values.append(row.percent)
                curve = plot(tuple(values), width, plain=console.legacy_windows)
                colour = "red" if row.percent >= 90 else "yellow" if row.percent >= 70 else "green"
                drawn = Text(f"{curve} {row.percent:>3.0f} %", style=colour)
            table.add_row(Text(row.name, style="bold"), drawn, Text(row.text))
        live.update(table, refresh=True)

    with Live(console=console, auto_refresh=False, transient=False) as live:
        yield show

"""Shows something once, or again and again: in place on a terminal, else line by line (``--watch``)."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import attrs
import trio

from trio_afrender.cli.find_farm import ask_farm
from trio_afrender.cli.signals import open_signals
from trio_afrender.cli.terminal import clean, has_rich, print_line, write_lines
from trio_afrender.cli.text_table import Line, terminal_size
from trio_afrender.errors import AfRenderError, ConfigError

__all__ = ("Shown", "display")


@attrs.frozen(slots=True)
class Shown:
    """What is shown at one moment: `lines` for people, `data` for scripts."""

    lines: Sequence[Line]
    data: object


Fetch: TypeAlias = Callable[[int], Awaitable[Shown]]
"""Fetches what is shown, for a width in columns."""
Draw: TypeAlias = Callable[[Sequence[Line]], None]


def display(fetch: Fetch, *, as_json: bool, watch: float | None) -> None:
    """Write to stdout what `fetch` returns; with `watch` again every so many seconds.

    A signal is the regular end of watching. Raises what `fetch` raises; while watching, errors of
    the farm are shown, and the next try follows.
    """
    if watch is None:
        shown = ask_farm(fetch, terminal_size()[0])
        if as_json:
            sys.stdout.write(json.dumps(shown.data, indent=2) + "\n")
        else:
            _write(shown.lines)
    elif as_json:
        trio.run(_watch, fetch, watch, _write_json, None)
    elif sys.stdout.isatty() and has_rich():
        with _open_live() as draw:
            trio.run(_watch, fetch, watch, lambda shown: draw(shown.lines), draw)
    else:
        trio.run(_watch, fetch, watch, lambda shown: _write([*shown.lines, [""]]), None)


async def _watch(
    fetch: Fetch, period: float, show: Callable[[Shown], None], draw: Draw | None
) -> None:
    watching = trio.CancelScope()
    async with open_signals(lambda _count, _name: watching.cancel()):
        with watching:
            while True:
                try:
                    show(await fetch(terminal_size()[0]))
                except ConfigError:
                    raise
                except AfRenderError as error:
                    text = clean(str(error))
                    if draw is None:
                        print_line(text)
                    else:
                        draw([[(text, "red")]])
                await trio.sleep(period)


def _write(lines: Sequence[Line]) -> None:
    write_lines(lines)
    sys.stdout.flush()


def _write_json(shown: Shown) -> None:
    sys.stdout.write(json.dumps(shown.data) + "\n")
    sys.stdout.flush()


@contextmanager
def _open_live() -> Iterator[Draw]:
    """Yield a function that draws lines in place of the last ones, as many as the terminal has."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(markup=False, highlight=False, emoji=False)

    def draw(lines: Sequence[Line]) -> None:
        room = max(3, console.height - 1)
        shown = list(lines)
        if len(shown) > room:
            left = len(shown) - room + 1
            shown = [*shown[: room - 1], [(f"... and {left} more lines", "dim")]]
        texts = [Text.assemble(*line, no_wrap=True, overflow="crop") for line in shown]
        live.update(Text("\n").join(texts), refresh=True)

    with Live(console=console, auto_refresh=False, transient=False) as live:
        yield draw

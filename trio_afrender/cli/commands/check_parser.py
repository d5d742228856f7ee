"""``trio_afrender check parser``: replays a log through a parser and prints each line's effect."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import attrs

from trio_afrender.cli.terminal import Part, clean, shorten_line, write_line
from trio_afrender.config import Config
from trio_afrender.devtools.html_report import make_page
from trio_afrender.devtools.replay import FLAGS, Event, Replay, replay_parser
from trio_afrender.errors import ConfigError
from trio_afrender.user_files import expand_home, write_user_file

__all__ = ("run_parser",)

_STYLES = {
    "warning": "yellow",
    **dict.fromkeys(("error", "fatalerror", "badresult", "problem"), "bold red"),
}
"""Styles of events; others are green."""
_MAX_LOG = 256 * 1024 * 1024
"""Bytes of a log."""
_PROGRESS = {"percent": "{}%", "frame": "frame {}", "percentframe": "{}% of the frame"}


def run_parser(options: Namespace, config: Config) -> int:
    """Replay the logs; return 1 if the parser has a problem with one. Raises `AfRenderError`."""
    if options.html and len(options.logs) > 1:
        raise ConfigError("--html takes one log: run the command once for each log")
    good = True
    for log in options.logs:
        replay = replay_parser(
            options.plugin,
            _read_log(log),
            frames=options.frames,
            chunk=options.chunk if options.speed is None else f"speed:{options.speed}",
            folders=config.plugins,
            working_directory=str(expand_home(options.folder)) if options.folder else "",
            html=options.html is not None,
        )
        good = good and replay.good
        if options.html:
            page = make_page(replay, log)
            try:
                write_user_file(options.html, page.encode("utf-8", "replace"))
            except OSError as error:
                raise ConfigError(f"page {options.html}: {error.strerror or error}") from None
        if options.json:
            sys.stdout.write(json.dumps(_as_json(log, replay)) + "\n")
        else:
            _print_replay(log, replay)
    return 0 if good else 1


def _read_log(log: str) -> bytes:
    try:
        if log == "-":
            data = sys.stdin.buffer.read(_MAX_LOG + 1)
        else:
            with Path(log).open("rb") as file:
                data = file.read(_MAX_LOG + 1)  # it may be a device without an end
    except OSError as error:
        raise ConfigError(f"log {log}: {error.strerror or error}") from None
    if len(data) > _MAX_LOG:
        raise ConfigError(f"log {log}: larger than {_MAX_LOG >> 20} MiB: give a part of it")
    return data


def _print_replay(log: str, replay: Replay) -> None:
    write_line((clean(f"{replay.parser}: {log}, in chunks: {replay.chunk}"), "bold"))
    numbers = max([len(_line_numbers(event)) for event in replay.events], default=1)
    margin = " " * numbers
    for (lines, line), events in groupby(
        replay.events, key=lambda event: (_line_numbers(event), event.text)
    ):
        write_line((lines.rjust(numbers), "dim"), f" | {clean(line)}", cut=True)
        for effect in _effects(tuple(events), replay):
            write_line(f"{margin} |   ", effect, cut=True)
    _print_final_state(replay)


def _line_numbers(event: Event) -> str:
    return str(event.line) if event.line == event.first_line else f"{event.first_line}-{event.line}"


def _effects(events: tuple[Event, ...], replay: Replay) -> Iterator[Part]:
    """Yield the effects of a line: progress together, each other effect on a line of its own."""
    progress = [event for event in events if event.name in _PROGRESS]
    if progress:
        values = {event.name: event.value for event in progress}
        text = ", ".join(
            form.format(values[name]) for name, form in _PROGRESS.items() if name in values
        )
        yield text, "cyan"
        if any(event in replay.backwards for event in progress):
            yield "the percentage decreases", "yellow"
    for event in events:
        if event in progress:
            continue
        text = clean(f"{event.name}: {event.value}")
        if event.name in FLAGS:
            text = event.name + (": the task is stopped here" if event is replay.stopped else "")
        yield text, _STYLES.get(event.name, "green")


def _print_final_state(replay: Replay) -> None:
    state = replay.state
    write_line(("At the end", "bold"))
    write_line(f"  percent     {state.percent}")
    write_line(f"  frame       {state.frame} done, {state.percentframe}% of the current one")
    for name in ("activity", "report", "resources"):
        if text := getattr(state, name):
            write_line(f"  {name:<11} {shorten_line(text, 150)}")
    if flags := [flag for flag in FLAGS if getattr(state, flag)]:
        write_line(f"  flags       {', '.join(flags)}")
    if replay.files:
        exist = len(state.files)
        write_line(f"  files       {len(replay.files)} reported, {exist} exist for thumbnails")
    status = f"{replay.status.name} ({replay.status.value})"
    style = "green" if replay.status.success else "bold red"
    write_line("  status      ", (status, style), ", for exit code 0")
    for line in replay.log.splitlines():
        write_line(f"  log         {clean(line)}")
    for problem in replay.problems:
        write_line(("The parser has a problem:", "bold red"))
        for line in problem.splitlines():
            write_line(f"  {clean(line)}")
    if replay.differences:
        text = f"The result depends on the chunks (--chunk {replay.chunk}):"
        write_line((text, "bold red"))
        for text in replay.differences:
            write_line(f"  {clean(text)}")
    elif replay.chunk != "whole":
        write_line(("The result for the log in one chunk is the same.", "green"))


def _as_json(log: str, replay: Replay) -> dict[str, object]:
    state = attrs.asdict(replay.state)
    shown = ("percent", "frame", "percentframe", *FLAGS, "activity", "report", "resources", "files")
    return {
        "parser": replay.parser,
        "log": log,
        "chunk": replay.chunk,
        "good": replay.good,
        "events": [attrs.asdict(event) for event in replay.events],
        "state": {name: state[name] for name in shown},
        "announced": list(replay.files),
        "stopped": attrs.asdict(replay.stopped) if replay.stopped else None,
        "status": replay.status.value,
        "status_name": replay.status.name,
        "problems": list(replay.problems),
        "differences": list(replay.differences),
        "task_log": replay.log,
    }

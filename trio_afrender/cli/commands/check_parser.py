"""``trio_afrender check parser``: replays a log through a parser and prints each line's effect."""

from __future__ import annotations

import json
import shutil
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

import attrs

from trio_afrender.cli.paint import Paint, writer
from trio_afrender.cli.terminal import clean, shorten_line
from trio_afrender.config import Config
from trio_afrender.devtools.html_report import make_page
from trio_afrender.devtools.replay import FLAGS, Event, Replay, replay_parser
from trio_afrender.errors import ConfigError

__all__ = ("run_parser",)

_BAD_EVENTS = {"error", "fatalerror", "badresult", "problem"}


def run_parser(options: Namespace, config: Config) -> int:
    """Replay the logs; return 1 if the parser has a problem with one. Raises `AfRenderError`."""
    if options.html and len(options.logs) > 1:
        raise ConfigError("--html takes one log: run the command once for each log")
    good = True
    for log in options.logs:
        replay = replay_parser(
            options.name,
            _read_log(log),
            frames=options.frames,
            chunk=options.chunk if options.speed is None else f"speed:{options.speed}",
            folders=config.plugins,
            working_directory=options.folder,
            html=options.html is not None,
        )
        good = good and replay.good
        if options.html:
            page = make_page(replay, log)
            try:
                options.html.write_text(page, encoding="utf-8", errors="replace")
            except OSError as error:
                raise ConfigError(f"page {options.html}: {error.strerror or error}") from None
        if options.json:
            sys.stdout.write(json.dumps(_as_json(log, replay)) + "\n")
        else:
            _print_replay(log, replay)
    return 0 if good else 1


def _read_log(log: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if log == "-" else Path(log).read_bytes()
    except OSError as error:
        raise ConfigError(f"log {log}: {error.strerror or error}") from None


def _print_replay(log: str, replay: Replay) -> None:
    write, paint = writer()
    width = max(40, shutil.get_terminal_size((100, 24)).columns) if paint.on else 200
    write(paint.bold(clean(f"{replay.parser}: {log}, in chunks: {replay.chunk}")))
    numbers = max([len(_line_numbers(event)) for event in replay.events], default=1)
    for (lines, line), events in groupby(
        replay.events, key=lambda event: (_line_numbers(event), event.text)
    ):
        group = tuple(events)
        text = shorten_line(line, width - numbers - 3)
        write(f"{paint.dim(lines.rjust(numbers))} | {text}")
        for effect in _effects(group, replay, paint, width - numbers - 5):
            write(f"{' ' * numbers} |   {effect}")
    write(*_final_state(replay, paint))


def _line_numbers(event: Event) -> str:
    return str(event.line) if event.line == event.first_line else f"{event.first_line}-{event.line}"


def _effects(events: tuple[Event, ...], replay: Replay, paint: Paint, width: int) -> Iterator[str]:
    """Yield the effects of a line: progress together, each other effect on a line of its own."""
    progress = [event for event in events if event.name in ("percent", "frame", "percentframe")]
    if progress:
        values = {event.name: event.value for event in progress}
        words = {"percent": "{}%", "frame": "frame {}", "percentframe": "{}% of the frame"}
        text = ", ".join(words[name].format(values[name]) for name in words if name in values)
        yield paint.number(text)
        if any(event in replay.backwards for event in progress):
            yield paint.warning("the percentage decreases")
    for event in events:
        if event in progress:
            continue
        if event.name in FLAGS:
            stops = ": the task is stopped here" if event is replay.stopped else ""
            yield _colour(event.name, paint)(event.name + stops)
        else:
            yield _colour(event.name, paint)(shorten_line(f"{event.name}: {event.value}", width))


def _colour(name: str, paint: Paint) -> Callable[[str], str]:
    if name in _BAD_EVENTS:
        return paint.bad
    if name == "warning":
        return paint.warning
    return paint.good


def _final_state(replay: Replay, paint: Paint) -> Iterator[str]:
    state = replay.state
    flags = [flag for flag in FLAGS if getattr(state, flag)]
    yield paint.bold("At the end")
    yield f"  percent     {state.percent}"
    yield f"  frame       {state.frame} done, {state.percentframe}% of the current one"
    for name in ("activity", "report", "resources"):
        if text := getattr(state, name):
            yield f"  {name:<11} {shorten_line(text, 150)}"
    if flags:
        yield f"  flags       {', '.join(flags)}"
    if replay.files:
        yield f"  files       {len(replay.files)} reported, {len(state.files)} exist for thumbnails"
    status = f"{replay.status.name} ({replay.status.value})"
    yield f"  status      {(paint.good if replay.status.success else paint.bad)(status)}, for exit code 0"
    yield from (f"  log         {clean(line)}" for line in replay.log.splitlines())
    for problem in replay.problems:
        yield paint.bad("The parser has a problem:")
        yield from (f"  {clean(line)}" for line in problem.splitlines())
    if replay.differences:
        yield paint.bad(f"The result depends on the chunks (--chunk {replay.chunk}):")
        yield from (f"  {clean(text)}" for text in replay.differences)
    elif replay.chunk != "whole":
        yield paint.good("The result for the log in one chunk is the same.")


def _as_json(log: str, replay: Replay) -> dict[str, object]:
    state = attrs.asdict(replay.state)
    wanted = (
        "percent",
        "frame",
        "percentframe",
        *FLAGS,
        "activity",
        "report",
        "resources",
        "files",
    )
    return {
        "parser": replay.parser,
        "log": log,
        "chunk": replay.chunk,
        "good": replay.good,
        "events": [attrs.asdict(event) for event in replay.events],
        "state": {name: state[name] for name in wanted},
        "announced": list(replay.files),
        "stopped": attrs.asdict(replay.stopped) if replay.stopped else None,
        "status": replay.status.value,
        "status_name": replay.status.name,
        "problems": list(replay.problems),
        "differences": list(replay.differences),
        "task_log": replay.log,
    }

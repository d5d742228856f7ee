"""Checks plugins one after another and prints a line of JSON for each: the process of `plugin_check`.

A process of its own, because plugins may hang, crash or end it. Its stdin is a JSON list: a list of
[kind, name], a list of folders, the settings, seconds between two updates of a meter.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from trio_afrender.config import PluginSettings
from trio_afrender.devtools.replay import replay_parser
from trio_afrender.devtools.service_preview import make_service
from trio_afrender.errors import AfRenderError, PluginError
from trio_afrender.plugins.diagnostics import Captured, capturing
from trio_afrender.plugins.host.host_protocol import load_plugin_settings
from trio_afrender.plugins.lookup import load_class
from trio_afrender.plugins.meters.meter_worker import MeterWorker

__all__ = ("check_plugin",)

SAMPLE = (
    "FRAME: 1\nPROGRESS: 50%\nACTIVITY: testing\nWarning: a line\r\n 10%\r 20%\r 100%\n"
    "é\ufffd\x00\x1b[31m\n0/0 1e999% -1% " + "9" * 400 + "%\n\n[" + "=" * 70_000 + "]\nunfinished"
)
"""Typical lines of programs, and lines that break careless parsers."""
TASK: Mapping[str, object] = {
    "command_block": "render @#@ @#@", "files_block": ["out.@####@.exr"], "block_flags": 1,
    "frame_start": 1, "frame_finish": 2, "frames_num": 2, "wdir": "/", "task_name": "frame 1-2",
    "environment": {"A": "1"},
}  # fmt: skip
_UPDATES = 3
_BASES = {"parser": "parser", "service": "service", "meter": "resbase"}


def check_plugin(
    kind: str,
    name: str,
    folders: tuple[Path, ...],
    settings: PluginSettings,
    pause: float,
) -> tuple[list[str], dict[str, Any]]:
    """Load, create and call a plugin; return its problems, and the properties of a meter."""
    problems: list[str] = []
    values: dict[str, Any] = {}
    try:
        made = load_class(kind, name, folders)
        if not issubclass(made, load_class(kind, _BASES[kind])):
            problems.append(f"{name} is not derived from the base class {_BASES[kind]}")
        if kind == "parser":
            replay = replay_parser(name, SAMPLE, frames=2, folders=folders)
            depends = "the result depends on how the output is cut"
            problems += [*replay.problems, *(f"{depends}: {text}" for text in replay.differences)]
        elif kind == "service":
            problems += make_service(name, TASK, folders=folders).problems
            parser = getattr(sys.modules.get(made.__module__), "parser", "")
            if isinstance(parser, str) and parser not in ("", "none"):
                try:
                    load_class("parser", parser, folders)
                except AfRenderError as error:
                    problems.append(f"its parser: {error}")
        else:
            values, wrong = _check_meter(name, folders, settings, pause)
            problems += wrong
    except PluginError as error:
        problems.append(f"{error}\n{error.details}".strip())
    except (Exception, SystemExit) as error:  # noqa: BLE001 - plugin code may raise anything
        problems.append(f"{type(error).__name__}: {error}")
    # `Problems` reports a repeated problem again; here once is enough.
    return [text for text in problems if not text.endswith(" times)")], values


def _check_meter(
    name: str, folders: tuple[Path, ...], settings: PluginSettings, pause: float
) -> tuple[dict[str, Any], list[str]]:
    """Properties after the updates, and problems. That a meter is not valid is no problem: its device
    is missing on this host."""
    worker = MeterWorker(name, settings, folders)
    problems: list[str] = []
    values: dict[str, Any] = {}
    for update in range(_UPDATES):
        if update:
            time.sleep(pause)
        shown = worker.measure().shown
        problems += worker.problems()
        if shown is None:
            odd = [text for text in problems if "not a bool" in text]
            return {"valid": False, "tooltip": "\n".join(problems)}, odd
        values = {"valid": True, **attrs.asdict(shown)}
    return values, problems


def main() -> None:
    """Write the answers to the original stdout, apart from prints of plugins, and exit at once."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    items, given, values_of_settings, pause = json.load(sys.stdin)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # nothing is left for plugins to read
    folders, settings = tuple(map(Path, given)), load_plugin_settings(values_of_settings)
    answers.write("\n")  # the parent waits for this line first: the process has started
    answers.flush()
    for kind, name in items:
        printed = Captured()
        with capturing(printed):
            problems, values = check_plugin(kind, name, folders, settings, pause)
        answers.write(json.dumps([problems, values, printed.take()]) + "\n")
        answers.flush()
    os._exit(0)  # threads and exit handlers of plugins must not delay the end


if __name__ == "__main__":
    main()

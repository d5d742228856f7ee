"""Tries plugins one after another and prints a line of JSON for each: the child of `survey`.

Plugins may hang, crash or end the process: so it is one of its own. Its arguments: a list of
[kind, name], a list of folders, the settings, seconds between two updates of a meter.
"""

from __future__ import annotations

import json
import os
import sys
import time
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

__all__ = ("try_plugin",)

SAMPLE = (
    "FRAME: 1\nPROGRESS: 50%\nACTIVITY: testing\nWarning: a line\r\n 10%\r 20%\r 100%\n"
    "é\ufffd\x00\x1b[31m\n0/0 1e999% -1% " + "9" * 400 + "%\n\n[" + "=" * 70_000 + "]\nunfinished"
)
"""A little of what programs print, and some nonsense: a parser must survive it."""
TASK = {
    "command_block": "render @#@ @#@", "files_block": ["out.@####@.exr"], "block_flags": 1,
    "frame_start": 1, "frame_finish": 2, "frames_num": 2, "wdir": "/", "task_name": "frame 1-2",
    "environment": {"A": "1"},
}  # fmt: skip
_UPDATES = 3
_SETTINGS = PluginSettings()
_BASES = {"parser": "parser", "service": "service", "meter": "resbase"}


def try_plugin(
    kind: str,
    name: str,
    folders: tuple[Path, ...],
    settings: PluginSettings = _SETTINGS,
    pause: float = 0.0,
) -> tuple[list[str], dict[str, Any]]:
    """Load, make and use a plugin; return what is wrong with it, and a meter's properties."""
    problems: list[str] = []
    values: dict[str, Any] = {}
    try:
        made = load_class(kind, name, folders)
        if not issubclass(made, load_class(kind, _BASES[kind])):
            problems.append(f"{name} is no child of our base class {_BASES[kind]}")
        if kind == "parser":
            problems += _try_parser(name, folders)
        elif kind == "service":
            problems += _try_service(made, name, folders)
        else:
            values, wrong = _try_meter(name, folders, settings, pause)
            problems += wrong
    except PluginError as error:
        problems.append(f"{error}\n{error.details}".strip())
    except (Exception, SystemExit) as error:  # noqa: BLE001 - plugin code may raise anything
        problems.append(f"{type(error).__name__}: {error}")
    # A problem is told again at its tenth time: once is enough here.
    return [text for text in problems if not text.endswith(" times)")], values


def _try_parser(name: str, folders: tuple[Path, ...]) -> list[str]:
    replay = replay_parser(name, SAMPLE, frames=2, folders=folders)
    cuts = (f"the cuts of the output make a difference: {text}" for text in replay.differences)
    return [*replay.problems, *cuts]


def _try_service(made: type, name: str, folders: tuple[Path, ...]) -> list[str]:
    problems = list(make_service(name, TASK, folders=folders).problems)
    parser = getattr(sys.modules.get(made.__module__), "parser", "")
    if isinstance(parser, str) and parser not in ("", "none"):
        try:
            load_class("parser", parser, folders)
        except AfRenderError as error:
            problems.append(f"its parser: {error}")
    return problems


def _try_meter(
    name: str, folders: tuple[Path, ...], settings: PluginSettings, pause: float
) -> tuple[dict[str, Any], list[str]]:
    """The properties after some updates. A meter that is not valid has nothing to measure here."""
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
    """Answer on the original stdout, whatever plugins print to it; end without their leftovers."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    items, folders = json.loads(sys.argv[1]), tuple(map(Path, json.loads(sys.argv[2])))
    settings, pause = load_plugin_settings(json.loads(sys.argv[3])), float(sys.argv[4])
    answers.write("\n")
    answers.flush()
    for kind, name in items:
        printed = Captured()
        with capturing(printed):
            problems, values = try_plugin(kind, name, folders, settings, pause)
        answers.write(json.dumps([problems, values, printed.take()]) + "\n")
        answers.flush()
    os._exit(0)  # threads of plugins must not keep it


if __name__ == "__main__":
    main()

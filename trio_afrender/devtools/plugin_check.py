"""Checks plugins in a separate process, so that one that hangs or crashes is reported as well."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import attrs

from trio_afrender.config import PluginSettings
from trio_afrender.errors import PluginError, PluginNotFound
from trio_afrender.plugins.host.host_protocol import dump_plugin_settings
from trio_afrender.plugins.lookup import list_plugins, near
from trio_afrender.text import printable

__all__ = ("PLUGIN_KINDS", "Report", "check_meter", "check_plugins")

PLUGIN_KINDS = ("service", "parser", "meter")
TIME_LIMIT = 10.0
"""Seconds for one plugin."""
_SETTINGS = PluginSettings()
_START_TIMEOUT = 60.0
"""Seconds until the process must have started: generous, for a busy machine."""
_ENDED = None
_LATE = object()


@attrs.frozen(slots=True, kw_only=True)
class Report:
    """The result of checking a plugin."""

    kind: str
    name: str
    problems: tuple[str, ...] = ()
    """Empty: none were found."""
    values: Mapping[str, int | str | bool] = attrs.field(factory=dict)
    """A meter's properties."""
    printed: str = ""


def check_plugins(
    folders: Sequence[Path] = (),
    *,
    names: Sequence[tuple[str, str]] | None = None,
    limit: float = TIME_LIMIT,
    settings: PluginSettings = _SETTINGS,
    pause: float = 0.0,
) -> tuple[Report, ...]:
    """Load, create and call plugins in another process; return a report for each. Blocking.

    `names` are pairs of kind and name; None: all plugins that can be found. A plugin that takes more
    than `limit` seconds is killed and reported. Meters are updated several times, with `pause` seconds
    in between. Raises `PluginError` if the process cannot be started.
    """
    folders = tuple(folder.resolve() for folder in folders)
    if names is None:
        names = [(kind, name) for kind in PLUGIN_KINDS for name in list_plugins(kind, folders)]
    reports: list[Report] = []
    while len(reports) < len(names):
        reports.extend(_check_in_process(names[len(reports) :], folders, limit, settings, pause))
    return tuple(reports)


def check_meter(
    name: str,
    folders: Sequence[Path] = (),
    *,
    limit: float = TIME_LIMIT,
    settings: PluginSettings = _SETTINGS,
    pause: float = 0.0,
) -> Report:
    """Create a meter and update it several times; see `check_plugins`.

    Raises `PluginNotFound` too.
    """
    if name not in list_plugins("meter", folders):
        raise PluginNotFound("meter", printable(name), near("meter", name, folders))
    return check_plugins(
        folders, names=[("meter", name)], limit=limit + 2 * pause, settings=settings, pause=pause
    )[0]


def _check_in_process(
    names: Sequence[tuple[str, str]],
    folders: Sequence[Path],
    limit: float,
    settings: PluginSettings,
    pause: float,
) -> Iterator[Report]:
    """Yield the reports of one process, up to the plugin that ended it. Raises `PluginError`."""
    answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    command = [
        sys.executable,
        "-P",  # a `services` or `parsers` in the current folder must not precede the built-in one
        "-m",
        "trio_afrender.devtools.plugin_check_main",
    ]
    # Not as arguments, which other users can read: a studio may keep secrets in its settings.
    request = json.dumps(
        [names, [str(folder) for folder in folders], dump_plugin_settings(settings), pause]
    )
    try:
        started = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
            encoding="utf-8",
        )
    except OSError as error:
        why = error.strerror or error
        text = f"the process that checks plugins cannot be started: {why}"
        raise PluginError(text) from error
    with started as process:
        try:
            # Threads, because neither end of a pipe has a time limit. They close their streams
            # themselves: one that a thread waits for cannot be closed here.
            try:
                sending = (process.stdin, request)
                threading.Thread(target=_send, args=sending, daemon=True).start()
                process.stdin = None
                reading = (process.stdout, answers)
                threading.Thread(target=_forward_lines, args=reading, daemon=True).start()
                process.stdout = None
            except RuntimeError as error:  # the host has no thread left
                text = f"the process that checks plugins cannot be used: {error}"
                raise PluginError(text) from error
            # Not a later line: each of those is the answer for one plugin.
            if not isinstance(_next(answers, _START_TIMEOUT), str):
                raise PluginError("the process that checks plugins cannot be started")
            for kind, name in names:
                answer = _next(answers, limit)
                if isinstance(answer, str):
                    problems, values, printed = json.loads(answer)
                    yield Report(
                        kind=kind,
                        name=name,
                        problems=tuple(problems),
                        values=values,
                        printed=printed,
                    )
                    continue
                text = f"it hung: not finished after {limit:g} seconds"
                ended = _has_ended(process, wait=answer is _ENDED)
                _kill_all(process)
                code = process.wait()
                if ended:
                    cause = f"signal {-code}" if code < 0 else f"exit code {code}"
                    text = f"it ended the process ({cause})"
                yield Report(kind=kind, name=name, problems=(text,))
                return
        finally:
            if process.returncode is None:
                _kill_all(process)


def _has_ended(process: subprocess.Popen[str], *, wait: bool) -> bool:
    """Whether the process has ended, although what it has started may hold its pipe open.

    It stays a zombie, so that its number is its own until `_kill_all` has used it.
    """
    if not hasattr(os, "waitid"):
        return wait
    flags = os.WEXITED | os.WNOWAIT | (0 if wait else os.WNOHANG)
    return os.waitid(os.P_PID, process.pid, flags) is not None


def _kill_all(process: subprocess.Popen[str]) -> None:
    """Kill the process and what its plugins have started in its session."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def _next(answers: queue.SimpleQueue[str | None], limit: float) -> object:
    try:
        return answers.get(timeout=limit)
    except queue.Empty:
        return _LATE


def _send(stream: IO[str], request: str) -> None:
    with suppress(OSError), stream:  # the process may have ended, which is found by its stdout
        stream.write(request)


def _forward_lines(stream: IO[str], answers: queue.SimpleQueue[str | None]) -> None:
    with stream:
        for line in stream:
            answers.put(line)
    answers.put(_ENDED)

"""Checks of plugins in a process of their own: one that hangs or crashes does not stop the others."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from itertools import count
from pathlib import Path
from queue import SimpleQueue

import pytest
from support.plugins import GUARD, PLUGINS

from trio_afrender.config import PluginSettings
from trio_afrender.devtools import plugin_check
from trio_afrender.errors import PluginError, PluginNotFound
from trio_afrender.testing import check_meter, check_plugins

FORKS = """
import fcntl
import os
import time
from parsers import parser


class forks(parser.parser):
    def do(self, args):
        fcntl.flock(os.open("{lock}", os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)
        if os.fork() == 0:
            time.sleep(600)
        os._exit(3)
"""
METER = """
from resmeters import resbase
{more}
class odd(resbase.resbase):
    def __init__(self):
        super().__init__()
        self.valid = True
    def update(self):
        {update}
"""


def meter(folder: Path, update: str, more: str = "") -> list[Path]:
    (folder / "resmeters").mkdir()
    (folder / "resmeters" / "odd.py").write_text(METER.format(update=update, more=more))
    return [folder]


def test_built_in_plugins_have_no_problems() -> None:
    reports = check_plugins()
    assert [(report.name, report.problems) for report in reports if report.problems] == []
    kinds = [report.kind for report in reports]
    assert kinds.count("service") >= 51
    assert kinds.count("parser") >= 48


@pytest.mark.parametrize(
    ("kind", "name", "sentence"),
    [
        ("service", "bad_init_exit", "it ended the process (exit code 5)"),
        ("service", "bad_init_raise", "LookupError: nothing there"),
        ("service", "bad_command", "getCommand() returned NoneType, not a str"),
        ("service", "incomplete", "lacks skipTask"),
        ("parser", "bad_types", "is not derived from the base class parser"),
        ("parser", "bad_import", "a_module_that_is_nowhere"),
        ("parser", "nowhere", 'no parser "nowhere"'),
    ],
)
def test_problems_are_explained(kind: str, name: str, sentence: str) -> None:
    names = [(kind, name), ("parser", "generic")]
    bad, good = check_plugins([PLUGINS], names=names)
    assert sentence in "\n".join(bad.problems)
    assert (good.name, good.problems) == ("generic", ())


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The numbers of the waits for an answer that have the limit of the test; others have a long one.

    The first one, 0, is for the start of a process.
    """
    chosen: set[int] = set()
    wait, numbers = plugin_check._next, count()

    def wait_for(answers: SimpleQueue[str | None], limit: float) -> object:
        return wait(answers, limit if next(numbers) in chosen else GUARD)

    monkeypatch.setattr(plugin_check, "_next", wait_for)
    return chosen


def test_a_plugin_that_hangs_costs_only_its_time_limit(limited: set[int]) -> None:
    names = [("parser", "generic"), ("service", "bad_init_loop"), ("parser", "blender")]
    limited.add(2)
    reports = check_plugins([PLUGINS], names=names, limit=0.5)
    assert [report.problems for report in reports] == [
        (),
        ("it hung: not finished after 0.5 seconds",),
        (),
    ]


def test_what_a_plugin_has_started_ends_with_the_check(
    tmp_path: Path, limited: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may hold the pipe of the answers open, for as long as it runs."""
    (tmp_path / "parsers").mkdir()
    (tmp_path / "parsers" / "forks.py").write_text(FORKS.format(lock=tmp_path / "lock"))
    names = [("parser", "forks"), ("parser", "generic")]
    has_ended = plugin_check._has_ended

    def look(process: subprocess.Popen[str], *, wait: bool) -> bool:
        has_ended(process, wait=True)  # for as long as it takes
        return has_ended(process, wait=wait)

    monkeypatch.setattr(plugin_check, "_has_ended", look)
    limited.add(1)
    bad, good = check_plugins([tmp_path], names=names, limit=0.1)
    assert bad.problems == ("it ended the process (exit code 3)",)
    assert good.problems == ()
    with (tmp_path / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # it is free when the process has ended


def test_a_check_that_cannot_be_started_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(PluginError, match="cannot be started: Resource temporarily unavailable"):
        check_plugins(names=[("parser", "generic")])


@pytest.mark.parametrize("threads", [0, 1])
def test_a_host_without_threads_is_an_error(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = threading.Thread.start, 0

    def start_some(thread: threading.Thread) -> None:
        nonlocal started
        if started == threads:
            raise RuntimeError("can't start new thread")
        started += 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_some)
    with pytest.raises(PluginError, match="cannot be used: can't start new thread"):
        check_plugins(names=[("parser", "generic")])


def test_a_process_that_starts_too_late_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first line was taken for the answer of the first plugin."""
    monkeypatch.setattr(plugin_check, "_START_TIMEOUT", 0.001)
    late = tmp_path / "late"
    late.write_text("#!/bin/sh\nexec sleep 600\n")
    late.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(late))
    with pytest.raises(PluginError, match="the process that checks plugins cannot be started"):
        check_plugins(names=[("parser", "generic")])


def test_a_missing_parser_of_a_service_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "moth.py").write_text(
        "from services import service\nparser = 'blendr'\nclass moth(service.service): pass\n"
    )
    (report,) = check_plugins([tmp_path], names=[("service", "moth")])
    assert report.problems == ('its parser: no parser "blendr", did you mean "blender"?',)


def test_a_meter_is_updated() -> None:
    report = check_meter("example")
    assert (report.problems, report.values["value"], report.values["label"]) == (
        (),
        6,
        "Example\n6",
    )


@pytest.mark.parametrize(
    ("update", "sentence"),
    [
        ("self.value = 'much'", "value is 'much', not of type int"),
        ("self.label = None", "label is None, not of type str"),
        ("raise LookupError('no sensor')", "LookupError: no sensor"),
        ("import os; os._exit(3)", "it ended the process (exit code 3)"),
        ("while True: pass", "it hung"),
    ],
)
def test_problems_of_a_meter_are_explained(tmp_path: Path, update: str, sentence: str) -> None:
    limit = 3.0 if sentence == "it hung" else GUARD
    report = check_meter("odd", meter(tmp_path, update), limit=limit)
    assert sentence in "\n".join(report.problems)


def test_prints_of_a_plugin_do_not_mix_with_the_reports(tmp_path: Path) -> None:
    more = "import os\nos.write(1, b'[[], {}, \"\"]\\n')\nprint('hello')\n"
    report = check_meter("odd", meter(tmp_path, "self.value = 7", more))
    assert (report.values["value"], report.printed) == (7, "hello\n")


def test_settings_are_no_arguments(tmp_path: Path) -> None:
    """Other users can read the arguments of programs, and the kernel limits the length of each."""
    update = (
        "import sys, cgruconfig; self.value = len(cgruconfig.VARS['large']);"
        " self.label = str('SECRET' in str(sys.orig_argv)); self.tooltip = repr(sys.stdin.read())"
    )
    variables = {"studio_password": "SECRET", "large": "x" * 300_000}
    settings = PluginSettings(variables=variables)
    report = check_meter("odd", meter(tmp_path, update), settings=settings)
    assert report.problems == ()
    values = [report.values[name] for name in ("value", "label", "tooltip")]
    assert values == [300_000, "False", "''"]


def test_a_missing_meter_is_an_error() -> None:
    with pytest.raises(PluginNotFound, match='did you mean "example"'):
        check_meter("exampel")

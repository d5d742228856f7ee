"""Licences in use, as commands print them."""

from __future__ import annotations

import re
import subprocess
from contextlib import suppress
from functools import partial

import psutil

from resmeters import resbase
from resmeters._background import Background, NotReady, wait_for_all
from resmeters._colours import green_to_red, share_between

__all__ = ("licence", "read_counts")

MAX_AGE = 60.0
"""Seconds for which a command's result is reused: a licence server serves many hosts."""
COMMAND_TIMEOUT = 30.0
"""Seconds a command may take."""
UPDATE_TIMEOUT = 1.0
"""Seconds one `update` waits for all commands together; a later update has the results."""
_NUMBER = r"(\d{1,9})"
_RULES = (
    # FlexLM's lmstat prints the total first.
    (re.compile(rf"total of {_NUMBER} licen[sc]es? issued.*?total of {_NUMBER} licen[sc]es? in use", re.I | re.S), True),
    (re.compile(rf"\bused\b\W{{0,4}}{_NUMBER}.*?\btotal\b\W{{0,4}}{_NUMBER}", re.I | re.S), False),
    (re.compile(rf"\btotal\b\W{{0,4}}{_NUMBER}.*?\bused\b\W{{0,4}}{_NUMBER}", re.I | re.S), True),
    (re.compile(rf"\b{_NUMBER}\s*(?:/|(?:out )?of)\s*{_NUMBER}\b", re.I), False),
    (re.compile(rf"\b{_NUMBER}\b\D+?\b{_NUMBER}\b"), False),
)  # fmt: skip
"""Patterns of the two numbers, and whether the total comes first; the first match counts."""


def read_counts(text: str) -> tuple[int, int] | None:
    """Return licences in use and in total; None if the text has no such numbers.

    It understands ``3 of 10``, ``3/10``, ``used: 3 total: 10`` (also as JSON), ``3 10`` and what
    FlexLM's ``lmstat`` prints.
    """
    for pattern, total_first in _RULES:
        if found := pattern.search(text):
            first, second = int(found[1]), int(found[2])
            return (second, first) if total_first else (first, second)
    return None


def _run(command: str) -> tuple[int, int]:
    # In the group of this process: the agent kills that, and the command with it.
    with subprocess.Popen(  # noqa: S602 - the command is the administrator's own setting
        command,
        shell=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            printed, errors = process.communicate(timeout=COMMAND_TIMEOUT)
        except subprocess.TimeoutExpired:
            _kill_with_children(process.pid)
            raise
    output = printed.decode("utf-8", "replace")
    counts = read_counts(output)
    if counts is None or process.returncode:
        lines = (errors.decode("utf-8", "replace").strip() or output.strip()).splitlines()
        last = lines[-1][:100] if lines else "it prints nothing"
        raise RuntimeError(f"exit code {process.returncode}: {last}")
    return counts


def _kill_with_children(pid: int) -> None:
    """Kill a shell and what it has started: a program that waits for a server that is down would stay.

    One more of them each minute.
    """
    with suppress(psutil.Error):
        shell = psutil.Process(pid)
        for each in (*shell.children(recursive=True), shell):
            with suppress(psutil.Error):
                each.kill()


class licence(resbase.resbase):
    """Percent of the scarcest licence in use; the label has a line for each licence.

    The setting ``licences`` is a list of pairs: a name, a shell command that prints the counts.
    """

    def __init__(self) -> None:
        super().__init__()
        self._counts = [
            (name, Background(partial(_run, command), max_age=MAX_AGE))
            for name, command in self.settings.licences
        ]
        self.valid = bool(self._counts)
        if not self.valid:
            print('The setting "licences" names no command: nothing is measured.')  # noqa: T201 - what plugins print is reported

    def update(self) -> None:
        lines, tips, worst, failed = [], [], 0.0, False
        for name, counts in wait_for_all(self._counts, UPDATE_TIMEOUT):
            if isinstance(counts, Exception):
                is_slow = isinstance(counts, NotReady)
                lines.append(f"{name} {'?' if is_slow else 'error'}")
                tips.append(f"{name}: {counts}")
                failed = failed or not is_slow
                continue
            used, total = counts
            worst = max(worst, 100.0 * used / total if total else 100.0)
            lines.append(f"{name} {used}/{total}")
            tips.append(f"{name}: {used} of {total} in use")
        self.value = int(min(worst, 100))
        self.graphr, self.graphg, self.graphb = green_to_red(share_between(worst, 50, 100))
        self.labelr, self.labelg, self.labelb = (255, 64, 64) if failed else (255, 255, 0)
        self.height = 20 + 15 * len(lines)
        self.label = "\n".join(lines)
        self.tooltip = "\n".join(tips)

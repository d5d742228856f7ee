"""Licences in use, as commands tell them."""

from __future__ import annotations

import re
import subprocess
from functools import partial

from resmeters import resbase
from resmeters._background import Aside, Late
from resmeters._colours import green_to_red, share_between

__all__ = ("licence", "read_counts")

EVERY = 60.0
"""Seconds an answer is good for: a licence server has many hosts to serve."""
TIME_LIMIT = 30.0
"""Seconds a command may take."""
PATIENCE = 1.0
"""Seconds one `update` waits for it."""
_NUMBER = r"(\d{1,9})"
_RULES = (
    # FlexLM's lmstat says the total first.
    (re.compile(rf"total of {_NUMBER} licen[sc]es? issued.*?total of {_NUMBER} licen[sc]es? in use", re.I | re.S), True),
    (re.compile(rf"\bused\b\W{{0,4}}{_NUMBER}.*?\btotal\b\W{{0,4}}{_NUMBER}", re.I | re.S), False),
    (re.compile(rf"\btotal\b\W{{0,4}}{_NUMBER}.*?\bused\b\W{{0,4}}{_NUMBER}", re.I | re.S), True),
    (re.compile(rf"\b{_NUMBER}\s*(?:/|(?:out )?of)\s*{_NUMBER}\b", re.I), False),
    (re.compile(rf"\b{_NUMBER}\b\D+?\b{_NUMBER}\b"), False),
)  # fmt: skip
"""What finds the two numbers, and whether the total comes first. The last: used, then total."""


def read_counts(text: str) -> tuple[int, int] | None:
    """Licences in use and in all; None when the text does not say.

    Understood are ``3 of 10``, ``3/10``, ``used: 3 total: 10`` (also as JSON), ``3 10`` and what
    FlexLM's ``lmstat`` prints.
    """
    for pattern, total_first in _RULES:
        if found := pattern.search(text):
            first, second = int(found[1]), int(found[2])
            return (second, first) if total_first else (first, second)
    return None


def _run(command: str) -> tuple[int, int]:
    done = subprocess.run(  # noqa: S602 - the command is the administrator's own setting
        command,
        shell=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TIME_LIMIT,
        check=False,
    )
    output = done.stdout.decode("utf-8", "replace")
    counts = read_counts(output)
    if counts is None or done.returncode:
        said = (done.stderr.decode("utf-8", "replace").strip() or output.strip()).splitlines()
        last = said[-1][:100] if said else "it prints nothing"
        raise RuntimeError(f"exit code {done.returncode}: {last}")
    return counts


class licence(resbase.resbase):
    """The scarcest licence's percent in use; the label has a line for each.

    The setting ``licences`` is a list of pairs: a name and a command for the shell.
    """

    def __init__(self) -> None:
        super().__init__()
        self._asides = [
            (name, Aside(partial(_run, command), every=EVERY))
            for name, command in self.settings.licences
        ]
        self.valid = bool(self._asides)
        if not self.valid:
            print('The setting "licences" names no command: nothing is measured.')  # noqa: T201 - how plugins speak

    def update(self) -> None:
        lines, tips, worst, trouble = [], [], 0.0, False
        for name, aside in self._asides:
            try:
                used, total = aside.answer(PATIENCE)
            except Late as late:
                lines.append(f"{name} ?")
                tips.append(f"{name}: {late}")
                continue
            except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                lines.append(f"{name} error")
                tips.append(f"{name}: {error}")
                trouble = True
                continue
            worst = max(worst, 100.0 * used / total if total else 100.0)
            lines.append(f"{name} {used}/{total}")
            tips.append(f"{name}: {used} of {total} in use")
        self.value = int(min(worst, 100))
        self.graphr, self.graphg, self.graphb = green_to_red(share_between(worst, 50, 100))
        self.labelr, self.labelg, self.labelb = (255, 64, 64) if trouble else (255, 255, 0)
        self.height = 20 + 15 * len(lines)
        self.label = "\n".join(lines)
        self.tooltip = "\n".join(tips)

"""Tasks as compact rows and as details, from the progress in a farm's answers. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from trio_afrender.afserver.remote_nodes import Fields, TaskNode, integer_of, text_of
from trio_afrender.web.topic import Row

__all__ = (
    "compact_row",
    "curve_key",
    "find_reasons",
    "read_attempts",
    "read_usage",
    "tail_lines",
    "task_bits_of",
    "task_row",
)

MAX_LOG_LINES = 400
_MAX_LINE = 10_000
_BITS = 2**31 - 1
_MAX_USAGE = 64
_MAX_ATTEMPTS = 100
_BEGUN = re.compile(
    r'(\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ) attempt (\d{1,9}): handed to render "(.*?)", run '
)
_ENDED = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ) (\w+) \(\d+\) from ")


def task_bits_of(item: Fields) -> int:
    """The bits of a task. An afserver sets bit 62 too, with which a browser loses the others."""
    return integer_of(item, "st") & _BITS


def compact_row(block: int, task: int, item: Fields, render: int, *, waits: bool) -> list[int]:
    """The row of a task without the zeros at its end: block, task, bits, percent, starts, errors,
    started, changed, render. `waits`: its block waits for another one."""
    bits = task_bits_of(item)
    if waits and bits & 1:
        bits = bits & ~1 | 1 << 2  # a server lists the tasks of a block that waits as ready
    row = [
        block,
        task,
        bits,
        100 if bits & 1 << 4 else integer_of(item, "per"),
        integer_of(item, "str"),
        integer_of(item, "err"),
        integer_of(item, "tst"),
        # Of a running task this is the present time, which is no change.
        0 if bits & 1 << 1 else integer_of(item, "tdn"),
        render,
    ]
    while len(row) > 3 and not row[-1]:
        row.pop()
    return row


def task_row(task: TaskNode, bits: int, item: Fields) -> Row:
    """What the progress shows of one task."""
    return {
        **task.to_json(),
        "bits": bits,
        "changed": 0 if task.running else task.changed,
        "activity": task.activity[:_MAX_LINE],
        "resources": text_of(item, "res")[:_MAX_LINE],
        "usage": read_usage(text_of(item, "res")),
    }


def read_usage(text: str) -> dict[str, float]:
    """The figures in the resources of a task, ``name:value`` words; other words are left out."""
    found: dict[str, float] = {}
    for word in text[:_MAX_LINE].split()[:_MAX_USAGE]:
        name, colon, figure = word.partition(":")
        try:
            value = float(figure)
        except ValueError:
            continue
        if colon and name and abs(value) < 1e15:
            found[name] = value
    return found


def tail_lines(text: str | Sequence[str], most: int = MAX_LOG_LINES) -> list[str]:
    """The last lines of a log; long ones are shortened, and what is left out is counted."""
    lines = text.splitlines() if isinstance(text, str) else list(text)
    shown = [
        line if len(line) <= _MAX_LINE else f"{line[:_MAX_LINE]} [{len(line) - _MAX_LINE} more]"
        for line in lines[-most:]
    ]
    if len(lines) > most:
        shown[0] = f"[{len(lines) - most + 1} earlier lines are not shown]"
    return shown


def read_attempts(log: Sequence[str]) -> list[Row]:
    """The attempts of a task by its log, as this program's farm writes it; none of an afserver's."""
    found: list[Row] = []
    for line in log:
        if match := _BEGUN.match(line):
            found.append(
                {
                    "attempt": int(match[2]),
                    "render": match[3],
                    "started": _unix_time(match[1]),
                    "finished": 0,
                    "state": "",
                }
            )
        elif (match := _ENDED.match(line)) and found and not found[-1]["finished"]:
            found[-1] |= {"finished": _unix_time(match[1]), "state": match[2]}
    return found[-_MAX_ATTEMPTS:]


def _unix_time(text: str) -> int:
    try:
        return int(datetime.strptime(text, "%Y-%m-%d %H:%M:%SZ").replace(tzinfo=UTC).timestamp())
    except ValueError:  # the 99th of a month
        return 0


def find_reasons(log: Sequence[str], *, done: bool = False) -> list[str]:
    """The sentences of the chain of reasons of the last attempt in a task's log.

    The log of an afserver does not show where attempts begin: of a task that is `done` none of its
    chains counts, because they are those of attempts that failed.
    """
    begun = [i for i, line in enumerate(log) if _BEGUN.match(line)]
    if done and not begun:
        return []
    log = log[begun[-1] :] if begun else log
    starts = [i for i, line in enumerate(log) if line.strip() == "Why:"]
    if not starts:
        return []
    found = []
    for line in log[starts[-1] + 1 :]:
        if not line.startswith(" "):
            break
        found.append(line.strip())
    return found


def curve_key(item: Mapping[str, Any]) -> int:
    """What tells one run of a task from the next: its start."""
    return integer_of(item, "tst")

"""Writes docs/reports/renderers.md: what each program did, and what the agent made of it."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from pathlib import Path

import attrs

from renderers.experiment import Experiment, Finding
from renderers.installed_programs import LeftOut, Program

__all__ = ("Row", "write_page")

_MAX_CELL = 110
"""Characters of a cell of a table."""
_HEAD = """# Real programs, {month}

`make renderers` wrote this page. It renders small scenes with real programs through the agent, breaks each on purpose,
and compares what the agent makes of it with what is right: state, the first reason, percents, files, flags of the
parser, missing assets. [renderers.md](../renderers.md) has what each parser reads.

Machine: {machine}. Result: {right} of {all} right.

- A full disk is a link of the output file to `/dev/full`. In a folder that is not writable the program runs without the
  capabilities that would let root write.
- Blender 4.5 and 5.0 are the Python module `bpy`, which `tests/renderers/blender_command.py` drives.
- "Percents" are those of the parser. A failed task keeps them.

## Programs

| program | version | right |
|---|---|---|
"""


@attrs.frozen(kw_only=True)
class Row:
    """One experiment and its result."""

    experiment: Experiment
    found: Finding | None
    """None if the agent itself failed."""
    wrong: tuple[str, ...]


def write_page(
    page: Path, rows: Sequence[Row], programs: Sequence[Program], left_out: Sequence[LeftOut]
) -> None:
    """Write the page."""
    machine = f"{platform.system()} {platform.release().partition('-')[0]} on {platform.machine()}"
    right = sum(not row.wrong for row in rows)
    month = time.strftime("%B %Y")
    parts = [_HEAD.format(month=month, machine=machine, right=right, all=len(rows))]
    for program in programs:
        own = [row for row in rows if row.experiment.program == program.key]
        good = sum(not row.wrong for row in own)
        parts.append(f"| {program.title} | {program.version} | {good} of {len(own)} |\n")
    parts.extend(f"| {each.title} | left out: {_cell(each.reason)} | |\n" for each in left_out)
    for program in programs:
        parts.append(f"\n## {program.title}, {program.version}\n\n")
        parts.append("| scene | done to it | state, first reason | percents | files | verdict |\n")
        parts.append("|---|---|---|---|---|---|\n")
        parts.extend(_line(row) for row in rows if row.experiment.program == program.key)
    page.write_text("".join(parts), encoding="utf-8")


def _line(row: Row) -> str:
    experiment, found = row.experiment, row.found
    verdict = "**wrong**: " + "; ".join(row.wrong) if row.wrong else "right"
    if experiment.remark:
        verdict += f" ({experiment.remark})"
    if found is None:
        cells = ["the agent failed", "", "", verdict]
    else:
        shown = f"{found.state}; {found.why}" if found.why else found.state
        if found.missing:
            shown += f"; missing: {', '.join(found.missing)}"
        percents = ", ".join(map(str, _shorten(found.curve)))
        cells = [shown, percents, str(len(found.files) or "none"), verdict]
    return "| " + " | ".join(map(_cell, (experiment.name, experiment.done, *cells))) + " |\n"


def _shorten(curve: Sequence[int]) -> list[int | str]:
    return [*curve[:3], "...", *curve[-3:]] if len(curve) > 7 else list(curve)


def _cell(text: str) -> str:
    """Return text that is plain in a table."""
    text = " ".join(text.replace("|", "/").replace("`", "'").split())
    text = (
        text.replace("_", "\\_").replace("<", "&lt;").replace("*", "\\*")
        if "**" not in text
        else text
    )
    if len(text) <= _MAX_CELL:
        return text
    return f"{text[: _MAX_CELL - 4].rpartition(' ')[0]} ..."

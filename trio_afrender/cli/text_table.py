"""Aligned tables of text that fit the width of a terminal: columns are shortened, then left out."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from collections.abc import Callable, Sequence
from typing import TypeAlias

import attrs

from trio_afrender.cli.terminal import Part, clean

__all__ = ("Cell", "Column", "Line", "layout", "terminal_size", "width_of")

Cell: TypeAlias = str | Sequence[Part]
"""Text, or parts of it with styles. It is cleaned here."""
Line: TypeAlias = list[Part]
_GAP = "  "
PLAIN_WIDTH = 160
"""Columns of a table that is not written to a terminal."""


@attrs.frozen(slots=True, kw_only=True)
class Column:
    """A column. `rank` 0 is never left out; higher ones are left out first."""

    title: str
    rank: int = 0
    right: bool = False
    least: int = 0
    """Characters to which it may be shortened; 0: it may not."""
    most: int = 60


def terminal_size() -> tuple[int, int]:
    """The columns and rows of the terminal on stdout; for a pipe a fixed width, and no height."""
    if not sys.stdout.isatty():
        return PLAIN_WIDTH, 0
    size = shutil.get_terminal_size()
    return size.columns, size.lines


def width_of(text: str) -> int:
    """The cells of a terminal that cleaned text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )


def layout(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> list[Line]:
    """Return the lines of a table: the titles, then a line for each row. No line is wider."""
    parts = [[_parts(cell) for cell in row] for row in rows]
    wide = [
        max([width_of(column.title), *(sum(map(_part_width, row[i])) for row in parts)])
        for i, column in enumerate(columns)
    ]
    wide = [min(have, max(c.most, len(c.title))) for have, c in zip(wide, columns, strict=True)]
    # A column without any value says nothing, unless it is one of the main ones.
    shown = [
        i for i, column in enumerate(columns) if not column.rank or any(row[i] for row in parts)
    ]
    wide = _fit(columns, shown, wide, width)
    lines = [_join(columns, shown, wide, [[(c.title, "bold")] for c in columns])]
    lines += [_join(columns, shown, wide, row) for row in parts]
    return lines


def _fit(columns: Sequence[Column], shown: list[int], wide: list[int], width: int) -> list[int]:
    """Shorten columns, and remove from `shown` those that do not fit; return the widths."""

    def excess(of: Callable[[int], int]) -> int:
        return sum(of(i) for i in shown) + len(_GAP) * (len(shown) - 1) - width

    def least(i: int) -> int:
        return min(wide[i], max(columns[i].least, len(columns[i].title))) or wide[i]

    def smallest(i: int) -> int:
        return least(i) if columns[i].least else wide[i]

    while excess(smallest) > 0:
        rank, last = max((columns[i].rank, i) for i in shown)
        if rank == 0:
            break  # the lines are cut
        shown.remove(last)
    fitted = list(wide)
    over = excess(lambda i: fitted[i])
    while over > 0:
        room = {i: fitted[i] - smallest(i) for i in shown}
        widest = max(room, key=lambda i: (room[i] > 0, fitted[i]))
        if room[widest] <= 0:
            break
        fitted[widest] -= 1
        over -= 1
    return fitted


def _parts(cell: Cell) -> list[Part]:
    if isinstance(cell, str):
        return [clean(cell)] if cell else []
    return [clean(p) if isinstance(p, str) else (clean(p[0]), p[1]) for p in cell]


def _part_width(part: Part) -> int:
    return width_of(part if isinstance(part, str) else part[0])


def _join(
    columns: Sequence[Column],
    shown: Sequence[int],
    wide: Sequence[int],
    row: Sequence[Sequence[Part]],
) -> Line:
    line: Line = []
    for place, i in enumerate(shown):
        cell, used = _cut(row[i], wide[i])
        blanks = " " * (wide[i] - used)
        last = place == len(shown) - 1
        before = _GAP if place else ""
        if columns[i].right:
            line += [before + blanks, *cell]
        else:
            line += [before, *cell, "" if last else blanks]
    while line and not (line[-1] if isinstance(line[-1], str) else line[-1][0]).strip():
        line.pop()
    return [part for part in line if part and part != ("", "")]


def _cut(parts: Sequence[Part], width: int) -> tuple[list[Part], int]:
    """Return at most `width` cells of text, with an ellipsis if it was longer; and its width."""
    if sum(map(_part_width, parts)) <= width:
        return list(parts), sum(map(_part_width, parts))
    found: list[Part] = []
    used = 0
    for part in parts:
        text, style = (part, "") if isinstance(part, str) else part
        kept = ""
        for c in text:
            if used + width_of(c) > width - 1:
                break
            kept += c
            used += width_of(c)
        found.append((kept, style) if style else kept)
        if kept != text:
            break
    return [*found, "…"], used + 1
